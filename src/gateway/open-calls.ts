import type { Clock, Timer } from '../platform/clock.ts';
import { type Repeat, repeat } from '../platform/repeat.ts';
import type { TokenKey } from '../tokens/verified-tokens.ts';

/** Why the gateway cut a call. */
export type CutReason = 'grant-ended' | 'state-unknown';

export interface OpenCall {
  key: TokenKey;
  /** Ends the connections of the call abruptly. */
  cut(reason: CutReason): void;
}

export interface OpenCallsDeps {
  clock: Clock;
  /** Reads for each token whether what began under it may go on. */
  mayGoOn: (keys: readonly TokenKey[]) => Promise<boolean[]>;
  onError: (error: unknown) => void;
}

export interface OpenCalls {
  /** Adds a call that was authorised just now. Returns the function that removes it. */
  add(call: OpenCall): () => void;
  readonly count: number;
  /** Stops the polling. */
  stop(): Promise<void>;
}

const pollMs = 250;
/** How long calls go on while the database does not answer. */
const silentMs = 5_000;

/**
 * Watches the calls whose response is not complete, with one query every 250 ms for all of them. Cuts those whose grant has
 * ended, whose token was revoked or whose signing key was compromised, and all of them if the database does not
 * answer for 5 s. The expiry of a token alone cuts nothing. No query runs without open calls.
 */
export function createOpenCalls({ clock, mayGoOn, onError }: OpenCallsDeps): OpenCalls {
  const calls = new Set<OpenCall>();
  let polling: Repeat | undefined;
  let silence: Timer | undefined;

  function cut(which: readonly OpenCall[], reason: CutReason): void {
    for (const call of which) if (calls.has(call)) call.cut(reason);
  }

  /** Cuts all calls `silentMs` after `askedAt`, unless it is called again before. */
  function awaitSilence(askedAt: Date): void {
    silence?.cancel();
    const leftMs = askedAt.getTime() + silentMs - clock.now().getTime();
    silence = clock.setTimer(leftMs, () => cut([...calls], 'state-unknown'));
  }

  async function poll(): Promise<void> {
    const asked = [...calls];
    const askedAt = clock.now();
    const results = await mayGoOn(asked.map(({ key }) => key));
    if (calls.size > 0) awaitSilence(askedAt);
    cut(
      asked.filter((_, n) => results[n] !== true),
      'grant-ended',
    );
  }

  function stop(): Promise<void> {
    silence?.cancel();
    const stopped = polling?.stop() ?? Promise.resolve();
    polling = undefined;
    return stopped;
  }

  return {
    add(call) {
      // The token was active a moment ago.
      if (calls.size === 0) awaitSilence(clock.now());
      calls.add(call);
      polling ??= repeat({ clock, intervalMs: pollMs, run: poll, onError });
      return () => {
        if (calls.delete(call) && calls.size === 0) void stop();
      };
    },
    get count() {
      return calls.size;
    },
    stop,
  };
}
