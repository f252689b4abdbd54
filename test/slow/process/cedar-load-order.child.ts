/**
 * Records, in order, the V8 flags that src/policies/cedar.ts sets and the compilation of WebAssembly, and prints
 * them.
 */
import { createRequire, syncBuiltinESMExports } from 'node:module';

const v8: { setFlagsFromString(flags: string): void } = createRequire(import.meta.url)('node:v8');
const seen: string[] = [];
const setFlags = v8.setFlagsFromString;
v8.setFlagsFromString = (flags) => {
  seen.push(flags);
  setFlags(flags);
};
syncBuiltinESMExports();
const wasm = (globalThis as unknown as { WebAssembly: { Module: new (bytes: Uint8Array) => object } })
  .WebAssembly;
const Module = wasm.Module;
wasm.Module = class extends Module {
  constructor(bytes: Uint8Array) {
    seen.push('compile');
    super(bytes);
  }
};

const { instantiateCedar } = await import('../../../src/policies/cedar.ts');
seen.push('imported');
instantiateCedar();
process.stdout.write(JSON.stringify(seen));
