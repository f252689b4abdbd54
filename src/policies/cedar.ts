import { createRequire } from 'node:module';
import { setFlagsFromString } from 'node:v8';
import type * as CedarModule from '@cedar-policy/cedar-wasm/nodejs';

// V8 11 inlines calls from JavaScript into wasm and crashes the process when it deoptimises them under load.
// Must come before the module is loaded, so Cedar is never imported statically.
setFlagsFromString('--no-turbo-inline-js-wasm-calls');

export type Cedar = typeof CedarModule;
export type CedarError = CedarModule.DetailedError;
export type CedarCall = CedarModule.StatefulAuthorizationCall;

/**
 * A WebAssembly instance of Cedar of the caller's own (10 to 40 ms, about 1 MB; the compiled code is shared).
 *
 * An exception thrown out of wasm skips its epilogues, so its stack pointer stays where it was: one stack
 * overflow, or some 1,500 small exceptions, leave an instance in which every later call fails. So whoever
 * catches one drops the instance, and what comes from outside is never parsed in the one that decides.
 */
export function instantiateCedar(): Cedar {
  // A require of its own each time: a parent module keeps all its children alive.
  const load = createRequire(import.meta.url);
  const entry = load.resolve('@cedar-policy/cedar-wasm/nodejs');
  delete load.cache[entry];
  try {
    return load(entry) as Cedar;
  } finally {
    delete load.cache[entry];
  }
}
