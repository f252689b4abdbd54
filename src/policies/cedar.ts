import { createRequire } from 'node:module';
import { setFlagsFromString } from 'node:v8';
import type * as CedarModule from '@cedar-policy/cedar-wasm/nodejs';

// V8 11 inlines calls from JavaScript into WebAssembly, and crashes the process when it deoptimises them under load.
// The flag must be set before the module is loaded, so Cedar is never imported statically.
setFlagsFromString('--no-turbo-inline-js-wasm-calls');

export type Cedar = typeof CedarModule;
export type CedarError = CedarModule.DetailedError;
export type CedarCall = CedarModule.StatefulAuthorizationCall;

/**
 * Creates a separate WebAssembly instance of Cedar (10 to 40 ms, about 1 MB; the compiled code is shared).
 *
 * An exception thrown from WebAssembly leaks stack space of the instance: after one stack overflow, or some 1,500
 * small exceptions, every later call fails. So a caller that catches an exception must discard the instance, and
 * untrusted text is never parsed in the instance that makes decisions.
 */
export function instantiateCedar(): Cedar {
  // A new `require` each time, because a parent module keeps all its children in memory.
  const load = createRequire(import.meta.url);
  const entry = load.resolve('@cedar-policy/cedar-wasm/nodejs');
  delete load.cache[entry];
  try {
    return load(entry) as Cedar;
  } finally {
    delete load.cache[entry];
  }
}
