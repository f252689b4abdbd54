import type { Caller } from '../caller.ts';
import type { Db } from '../db/database.ts';
import { type Page, takePage } from '../db/page.ts';
import { statementBatches } from '../db/statement-batches.ts';
import { Batcher } from '../platform/batcher.ts';
import type { Turns } from '../platform/turns.ts';
import type { Call, CallEnd, NewCall } from './call.ts';
import * as store from './store.ts';

export interface CallsDeps {
  db: Db;
  turns: Pick<Turns, 'afterTurn'>;
}

export type CallsService = ReturnType<typeof createCallsService>;

/** Creates the service that records the calls through the gateway. Calls at the same time share statements. */
export function createCallsService({ db, turns }: CallsDeps) {
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
  return {
    /** Records a call. Resolves when its row is committed: only then may the upstream be reached. */
    begin: (call: NewCall): Promise<undefined> => begins.submit(call),
    /** Records how a call ended. */
    end: (id: string, end: CallEnd): Promise<undefined> => ends.submit({ id, ...end }),
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
