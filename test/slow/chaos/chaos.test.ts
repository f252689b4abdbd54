import { describe, expect, it } from 'vitest';
import type { Kind } from '../../chaos-checker/history.ts';
import { plantNames, plants } from './plants.ts';
import { report } from './report.ts';
import { runChaos } from './run.ts';

/** How often operations of each kind must succeed before the run ends. */
const successes = {
  request: 60,
  read: 40,
  list: 30,
  approve: 15,
  deny: 3,
  cancel: 5,
  return: 6,
  'revoke-grant': 4,
  'broker-token': 30,
  mint: 30,
  'mint-pinned': 20,
  exchange: 15,
  introspect: 300,
  'revoke-token': 15,
  replay: 15,
  'issue-secret': 2,
  withdraw: 3,
  disable: 4,
  enable: 4,
  rotate: 4,
  compromise: 2,
  lease: 4,
  'renew-lease': 1,
  'read-lease': 2,
  'revoke-lease': 2,
  'log-in': 6,
} satisfies Record<Kind, number>;

/** A safety limit: a run that is incomplete after this time fails, with a message about what is missing. */
const limitSeconds = 1_200;
/** The time for the start, the final checks and the stop. Each of their waits has its own limit and message. */
const restMs = 1_200_000;
const timeout = limitSeconds * 1000 + restMs;

describe('random operations at three replicas', () => {
  it('violate no guarantee while replicas are killed, paused and drained and PostgreSQL is stopped and crashed', {
    timeout,
  }, async () => {
    const run = await runChaos({ leastSeconds: 0, limitSeconds, seed: 'suite', successes });
    expect({ violations: run.violations, deaths: run.deaths }, report(run)).toEqual({
      violations: [],
      deaths: [],
    });
    expect(run.missing, report(run)).toEqual([]);
  });

  it('each fault planted in the database is found by its own check, and only in operations that involve its victim', {
    timeout,
  }, async () => {
    const run = await runChaos({
      leastSeconds: 0,
      limitSeconds,
      seed: 'planted',
      plants: plantNames,
      nemesis: 'absent',
    });
    expect(run.missing, report(run)).toEqual([]);
    const found = new Map<string, Set<string>>();
    for (const { agentId = 'nobody', check } of run.violations)
      found.set(agentId, (found.get(agentId) ?? new Set()).add(check));
    const unfound = [...run.victims].filter(([id, name]) => !found.get(id)?.has(plants[name].finds));
    expect(unfound, report(run)).toEqual([]);
    // One fault may violate a second guarantee for the same agent: of the grants of a forgotten idempotency key only
    // one is the right one. A victim that repeats an exchange uses the token of another agent: the operation is the
    // victim's.
    const isOfVictim = (agentId: string | undefined): boolean =>
      agentId !== undefined && run.victims.has(agentId);
    const elsewhere = run.violations.filter(
      ({ agentId, operations }) =>
        !isOfVictim(agentId) && !operations.some(({ asked }) => isOfVictim(asked.agentId)),
    );
    expect(elsewhere, report(run)).toEqual([]);
  });
});
