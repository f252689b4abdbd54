import fc from 'fast-check';
import { type GrantStatus, grantStatuses, hasEnded } from '../../../src/grants/states.ts';
import { addSeconds } from '../../../src/platform/clock.ts';

/**
 * A model of the grants in the database and of everything on which they depend. It computes when each ended, step by step
 * from the rows, and the SQL is compared with it. Instants are seconds after `start`.
 */
export const start = new Date('2026-03-02T10:00:00Z');
export const at = (second: number): Date => addSeconds(start, second);
export const atOrNull = (second: number | null): Date | null => (second === null ? null : at(second));

export interface Owner {
  epoch: number;
  /** When each earlier epoch ended, in order. */
  epochEnds: number[];
  expiresAt: number | null;
  requireBound: boolean;
  unboundEndedAt: number | null;
}

export interface Issuer {
  epoch: number;
  epochEnds: number[];
  deletedAt: number | null;
  subjectTokens: boolean;
  updatedAt: number;
}

export interface Token {
  agent: number;
  resource: number | null;
  secretRevokedAt: number | null;
  keyCompromisedAt: number | null;
  issuer: { index: number; epoch: number } | null;
  revokedAt: number | null;
  bound: boolean;
  issuedAt: number;
}

export interface GrantRow {
  status: GrantStatus;
  lapsesAt: number;
  startsAt: number;
  expiresAt: number;
  endedAt: number | null;
  agent: number;
  agentEpoch: number;
  resource: number;
  resourceEpoch: number;
  /** The indices of its ancestors, beginning with the first. */
  ancestors: number[];
  subjects: number[];
}

export interface World {
  agents: Owner[];
  resources: Owner[];
  issuers: Issuer[];
  tokens: Token[];
  grants: GrantRow[];
}

const longest = 20;
const second = fc.integer({ min: 0, max: longest });
const maybe = (often: number): fc.Arbitrary<number | null> => fc.option(second, { freq: often });
const epochs = fc
  .array(second, { maxLength: 2 })
  .map((ends) => ({ epoch: ends.length + 1, epochEnds: ends }));
const small = { agents: 4, resources: 3, issuers: 2, tokens: 6, grants: 24 };

const owner: fc.Arbitrary<Owner> = fc
  .tuple(epochs, maybe(2), fc.nat(4), maybe(1))
  .map(([rest, expiresAt, requires, unboundEndedAt]) => ({
    ...rest,
    expiresAt,
    requireBound: requires === 0,
    unboundEndedAt,
  }));
const issuer: fc.Arbitrary<Issuer> = fc
  .tuple(epochs, maybe(1), fc.nat(4), second)
  .map(([rest, deletedAt, trusts, updatedAt]) => ({
    ...rest,
    deletedAt,
    subjectTokens: trusts > 0,
    updatedAt,
  }));
const token: fc.Arbitrary<Token> = fc.record({
  agent: fc.nat(small.agents - 1),
  resource: fc.option(fc.nat(small.resources - 1), { freq: 4 }),
  secretRevokedAt: maybe(1),
  keyCompromisedAt: maybe(1),
  issuer: fc.option(fc.record({ index: fc.nat(small.issuers - 1), epoch: fc.integer({ min: 1, max: 2 }) }), {
    freq: 1,
  }),
  revokedAt: maybe(1),
  bound: fc.boolean(),
  issuedAt: second,
});
const seed = fc.record({
  status: fc.constantFrom<GrantStatus>(
    ...grantStatuses,
    'active',
    'active',
    'active',
    'scheduled',
    'pending',
  ),
  lapsesAt: second,
  startsAt: second,
  lasts: fc.integer({ min: 1, max: longest }),
  endedAt: second,
  agent: fc.nat(small.agents - 1),
  earlierAgentEpochs: fc.nat(1),
  resource: fc.nat(small.resources - 1),
  earlierResourceEpochs: fc.nat(1),
  parent: fc.option(fc.nat(), { freq: 2 }),
  subjects: fc.uniqueArray(fc.nat(small.tokens - 1), { minLength: 1, maxLength: 2 }),
});

const many = <T>(of: fc.Arbitrary<T>, count: number): fc.Arbitrary<T[]> =>
  fc.array(of, { minLength: count, maxLength: count });

function toGrants(
  seeds: (typeof seed extends fc.Arbitrary<infer Seed> ? Seed : never)[],
  agents: Owner[],
  resources: Owner[],
): GrantRow[] {
  const grants: GrantRow[] = [];
  for (const one of seeds) {
    const parent = one.parent === null || grants.length === 0 ? undefined : one.parent % grants.length;
    const above = parent === undefined ? undefined : grants[parent];
    const canDelegate = above !== undefined && above.ancestors.length < 4 && one.status !== 'pending';
    grants.push({
      ...one,
      expiresAt: one.startsAt + one.lasts,
      endedAt: hasEnded(one.status) ? one.endedAt : null,
      agentEpoch: Math.max(1, (agents[one.agent]?.epoch ?? 1) - one.earlierAgentEpochs),
      resourceEpoch: Math.max(1, (resources[one.resource]?.epoch ?? 1) - one.earlierResourceEpochs),
      ancestors: canDelegate && parent !== undefined ? [...above.ancestors, parent] : [],
      subjects: canDelegate ? one.subjects : [],
    });
  }
  return grants;
}

export const world: fc.Arbitrary<World> = fc
  .record({
    agents: many(owner, small.agents),
    resources: many(owner, small.resources),
    issuers: many(issuer, small.issuers),
    tokens: many(token, small.tokens),
    seeds: many(seed, small.grants),
  })
  .map(({ seeds, ...rest }) => ({ ...rest, grants: toGrants(seeds, rest.agents, rest.resources) }));

const first = (instants: (number | null | undefined)[]): number | null => {
  const known = instants.filter((one): one is number => one !== null && one !== undefined);
  return known.length === 0 ? null : Math.min(...known);
};

function issuerEndedAt(
  { epoch, epochEnds, deletedAt, subjectTokens, updatedAt }: Issuer,
  of: number,
): number | null {
  if (epoch === of && deletedAt === null && subjectTokens) return null;
  return first([epochEnds[of - 1], deletedAt]) ?? updatedAt;
}

function unboundEndedAt({ requireBound, unboundEndedAt: ended }: Owner, issuedAt: number): number | null {
  const isOver = requireBound || (ended !== null && issuedAt <= ended);
  return isOver ? (ended ?? issuedAt) : null;
}

export function tokenEndedAt(world: World, index: number): number | null {
  const token = world.tokens[index] as Token;
  const owners = [
    world.agents[token.agent],
    token.resource === null ? undefined : world.resources[token.resource],
  ];
  const unbound = owners.map((one) =>
    one === undefined || token.bound ? null : unboundEndedAt(one, token.issuedAt),
  );
  const { issuer: by } = token;
  const word = by === null ? null : issuerEndedAt(world.issuers[by.index] as Issuer, by.epoch);
  return first([token.revokedAt, token.secretRevokedAt, token.keyCompromisedAt, word, ...unbound]);
}

/** Returns when the first thing on which this grant depends ended, without its ancestors; null if none has ended. */
function ownFoundation(world: World, grant: GrantRow): number | null {
  return first([
    world.agents[grant.agent]?.epochEnds[grant.agentEpoch - 1],
    world.resources[grant.resource]?.epochEnds[grant.resourceEpoch - 1],
    ...grant.subjects.map((index) => tokenEndedAt(world, index)),
  ]);
}

export function epochsEndedAt(world: World, grant: GrantRow): number | null {
  const above = grant.ancestors.map((index) => world.grants[index] as GrantRow);
  return first([
    ownFoundation(world, grant),
    ...above.flatMap((one) => [one.endedAt, ownFoundation(world, one)]),
  ]);
}

export function agentExpiresAt(world: World, grant: GrantRow): number | null {
  const all = [grant, ...grant.ancestors.map((index) => world.grants[index] as GrantRow)];
  return first(all.map((one) => world.agents[one.agent]?.expiresAt));
}
