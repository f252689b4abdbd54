import type { Actor, AuditEventType, NewAuditEvent } from '../audit/audit-event.ts';
import type { Audit } from '../audit/store.ts';
import type { Origin } from '../caller.ts';
import { exportPublicJwk, generateSigningKeyPair, type KeyPair } from '../crypto/algorithms.ts';
import type { Envelope } from '../crypto/envelope.ts';
import type { Tx } from '../db/database.ts';
import { BrokerError } from '../errors.ts';
import type { Ids } from '../platform/ids.ts';
import { sealPrivateKey } from './key-material.ts';
import type { RotationAction, RotationPlan } from './rotation-plan.ts';
import * as store from './store.ts';

export interface ApplyDeps {
  audit: Audit;
  ids: Ids;
  envelope: Envelope;
}

export interface PlanToApply extends Pick<RotationPlan, 'actions'> {
  /** The instant the plan was made for. */
  now: Date;
  actor: Actor;
  origin?: Origin | undefined;
  /** Why, where a person asked for it. */
  reason?: string | undefined;
}

type CreateAction = Extract<RotationAction, { kind: 'create' }>;
type MoveAction = Exclude<RotationAction, CreateAction>;

const eventOfCreation: Record<CreateAction['state'], AuditEventType> = {
  prepared: 'key.prepared',
  active: 'key.activated',
};

const moves: Record<MoveAction['kind'], { to: store.ReachableState; event: AuditEventType }> = {
  activate: { to: 'active', event: 'key.activated' },
  'start-retiring': { to: 'retiring', event: 'key.retiring' },
  retire: { to: 'retired', event: 'key.retired' },
  compromise: { to: 'compromised', event: 'key.compromised' },
};

interface Applied {
  type: AuditEventType;
  kid: string;
}

/** Carries out a plan that was made under the lock on the keys, in its order, and records each of its actions. */
export async function applyPlan(deps: ApplyDeps, tx: Tx, plan: PlanToApply): Promise<void> {
  const { actions, now, actor, origin, reason } = plan;
  const pairs = await generatePairs(actions);
  const events: NewAuditEvent[] = [];
  for (const action of actions) {
    const { type, kid } =
      action.kind === 'create'
        ? await create(deps, tx, { action, now, pair: pairs.get(action) })
        : await move(tx, action, now);
    const unpublished = action.kind === 'activate' && action.unpublished ? { unpublished: true } : {};
    const details = { alg: action.alg, ...unpublished, ...(reason === undefined ? {} : { reason }) };
    events.push({ type, actor, origin, objectId: kid, details });
  }
  await deps.audit.append(tx, ...events);
}

/** All at once: an RSA key takes up to a second, and meanwhile other replicas wait for the lock. */
async function generatePairs(actions: RotationAction[]): Promise<Map<RotationAction, KeyPair>> {
  const creations = actions.filter((action) => action.kind === 'create');
  const pairs = await Promise.all(
    creations.map(async (action) => [action, await generateSigningKeyPair(action.alg)] as const),
  );
  return new Map(pairs);
}

async function create(
  { ids, envelope }: ApplyDeps,
  tx: Tx,
  { action, now, pair }: { action: CreateAction; now: Date; pair: KeyPair | undefined },
): Promise<Applied> {
  const { alg, state } = action;
  if (pair === undefined) throw new BrokerError('internal', { internal: `no key pair was made for ${alg}` });
  const kid = ids.next('signingKey');
  await store.insertKey(tx, {
    kid,
    alg,
    state,
    publicJwk: exportPublicJwk({ alg, kid, key: pair.publicKey }),
    privateSealed: sealPrivateKey(envelope, kid, pair.privateKey),
    createdAt: now,
  });
  return { type: eventOfCreation[state], kid };
}

/** The lock makes a plan true until its transaction ends; whoever changed a key without it makes this throw. */
async function move(tx: Tx, { kind, kid }: MoveAction, at: Date): Promise<Applied> {
  const { to, event } = moves[kind];
  if (!(await store.moveKey(tx, { kid, to, at }))) {
    throw new BrokerError('internal', { internal: `key ${kid} is in no state that leads to ${to}` });
  }
  return { type: event, kid };
}
