import type { Caller } from '../caller.ts';
import type { Db } from '../db/database.ts';
import { type Page, takePage } from '../db/page.ts';
import { statementBatches } from '../db/statement-batches.ts';
import { Batcher } from '../platform/batcher.ts';
import { type Clock, delay } from '../platform/clock.ts';
import type { Turns } from '../platform/turns.ts';
import type { Call, CallEnd, NewCall } from './call.ts';
import * as store from './store.ts';

export interface CallsDeps {
  db: Db;
  clock: Clock;
  onError: (error: unknown, callId: string) => void;
  turns: Pick<Turns, 'afterTurn'>;
}

export type CallsService = ReturnType<typeof createCallsService>;

/** Creates the service that records the calls through the gateway. Calls at the same time share statements. */
export function createCallsService(deps: CallsDeps) {
  const { db, turns } = deps;
  const begins = new Batcher<NewCall, undefined>({
    ...statementBatches,
    turns,
    run: async (calls) => {
      await store.insertCalls(db, calls);
      return calls.map(() => undefined);
    },
  });
  const ends = new Batcher<CallEnd & { id: string }, undefined>({
    ...statementBatches,
    turns,
    run: async (rows) => {
      await store.endCalls(db, rows);
      return rows.map(() => undefined);
    },
  });
  const recorder = createRecorder(deps, (end) => ends.submit(end));
  return {
    /** Records a call. Resolves when its row is committed: only then may the upstream be reached. */
    begin: (call: NewCall): Promise<undefined> => begins.submit(call),
    /** Records how a call ended, in the background: a failed write is repeated until it succeeds, `stop` is called or `mostWaiting` wait. */
    end: recorder.record,
    /** Makes the last attempt to record the outcomes that are not written yet. */
    stop: recorder.stop,
    /** Lists the calls that the caller may see, newest first: an agent its own, admins and auditors all. */
    async list(
      caller: Caller,
      filter: store.CallFilter,
      page: { limit: number; before: string | undefined },
    ): Promise<Page<Call>> {
      const isForeign =
        caller.kind === 'agent' && filter.agentId !== undefined && filter.agentId !== caller.id;
      if (isForeign) return { items: [], more: false };
      const visible = caller.kind === 'agent' ? { ...filter, agentId: caller.id } : filter;
      return takePage(await store.listCalls(db, visible, { ...page, limit: page.limit + 1 }), page.limit);
    },
  };
}

const retryMs = 1_000;
/** While as many outcomes wait for the database, a failed write is not repeated. Each is a few hundred bytes. */
const mostWaiting = 50_000;

type IdentifiedEnd = CallEnd & { id: string };

/** Writes outcomes of calls, and repeats what fails. */
function createRecorder({ clock, onError }: CallsDeps, write: (end: IdentifiedEnd) => Promise<undefined>) {
  const waiting = new Set<Promise<void>>();
  const stopping = new AbortController();

  async function writeUntilDone(end: IdentifiedEnd): Promise<void> {
    for (;;) {
      const isLast = stopping.signal.aborted || waiting.size >= mostWaiting;
      try {
        await write(end);
        return;
      } catch (error) {
        if (isLast) return onError(error, end.id);
        await delay(clock, retryMs, stopping.signal);
      }
    }
  }

  return {
    record(id: string, end: CallEnd): void {
      const written: Promise<void> = writeUntilDone({ id, ...end }).finally(() => waiting.delete(written));
      waiting.add(written);
    },
    async stop(): Promise<void> {
      stopping.abort();
      await Promise.all(waiting);
    },
  };
}
