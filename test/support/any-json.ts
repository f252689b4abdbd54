/**
 * Whatever JSON somebody answers: a test says by what it expects of it what it is, and a wrong guess fails there.
 */
// biome-ignore lint/suspicious/noExplicitAny: `unknown` would make every test describe each answer a second time, in types
export type AnyJson = any;
