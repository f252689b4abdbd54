import { describe, expect, it } from 'vitest';
import { plantNames, plants } from './plants.ts';
import { report, tooLittle } from './report.ts';
import { runChaos } from './run.ts';

const seconds = 30;
/** Long enough for two runs of the job that writes expiries down, every ten seconds. */
const plantedSeconds = 25;
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
    'are told from replicas on a database that forgets, each fault by its own check, and nobody is accused but its victim',
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
      const unfound = [...run.victims].filter(([id, name]) => !found.get(id)?.has(plants[name].finds));
      expect(unfound, report(run)).toEqual([]);
      // One fault may break a second promise to the same agent: of the grants of a forgotten key only one can be the right one.
      expect([...found.keys()].sort(), report(run)).toEqual([...run.victims.keys()].sort());
    },
    plantedSeconds * 1000 + settleMs,
  );
});
