/**
 * Any JSON of a response. A test states the expected shape by its assertions, and a wrong assumption fails there.
 */
// biome-ignore lint/suspicious/noExplicitAny: `unknown` would make every test describe each response twice
export type AnyJson = any;
