import { describe, expect, it } from 'vitest';
import { plantNames, plants } from './plants.ts';
import { report, tooLittle } from './report.ts';
import { runChaos } from './run.ts';

const seconds = 30;
/** Long enough for the job that writes expiries down, which runs every ten seconds. */
const plantedSeconds = 14;
const settleMs = 120_000;

describe('replicas that are killed, paused and drained over a PostgreSQL that is stopped and crashed', () => {
  it(
    `break no promise in ${seconds} s of everybody doing everything`,
    async () => {
      const run = await runChaos({ seconds, seed: 'suite' });
      expect({ violations: run.violations, deaths: run.deaths }, report(run)).toEqual({
        violations: [],
        deaths: [],
      });
      expect(tooLittle(run), report(run)).toEqual([]);
      expect(new Set(run.faults.map(({ kind }) => kind)).size, report(run)).toBeGreaterThanOrEqual(4);
    },
    seconds * 1000 + settleMs,
  );

  it(
    'are told from replicas on a database that forgets, each fault by its own check and for its own victim',
    async () => {
      const run = await runChaos({
        seconds: plantedSeconds,
        seed: 'planted',
        plants: plantNames,
        nemesis: 'absent',
      });
      const found = new Map<string, Set<string>>();
      for (const { agentId = 'nobody', check } of run.violations)
        found.set(agentId, (found.get(agentId) ?? new Set()).add(check));
      const expected = new Map([...run.victims].map(([id, name]) => [id, new Set([plants[name].finds])]));
      expect(found, report(run)).toEqual(expected);
    },
    plantedSeconds * 1000 + settleMs,
  );
});
