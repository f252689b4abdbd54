import type { Audit } from '../audit/audit.ts';
import type { Actor, AuditEventType, NewAuditEvent } from '../audit/audit-event.ts';
import type { Origin } from '../caller.ts';
import { exportPublicJwk, type KeyPair, type SigningAlg } from '../crypto/algorithms.ts';
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
  generateKeyPair: (alg: SigningAlg) => Promise<KeyPair>;
}

/** Generated key pairs that are not stored yet, by algorithm. */
export type SparePairs = ReadonlyMap<SigningAlg, readonly KeyPair[]>;

export interface PlanToApply extends Pick<RotationPlan, 'actions'> {
  spare: SparePairs;
  /** The time for which the plan was made. */
  now: Date;
  actor: Actor;
  origin?: Origin | undefined;
  /** The admin's reason; undefined for an automatic rotation. */
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

/**
 * Generates the key pairs that the actions need. Called before the lock on the keys is taken: on a busy machine, RSA
 * keys take seconds, and other replicas wait for the lock.
 */
export async function generateSpare(deps: ApplyDeps, actions: RotationAction[]): Promise<SparePairs> {
  const spare = new Map<SigningAlg, KeyPair[]>();
  const addPair = async ({ alg }: CreateAction): Promise<void> => {
    const pair = await deps.generateKeyPair(alg);
    spare.set(alg, [...(spare.get(alg) ?? []), pair]);
  };
  await Promise.all(actions.filter((action) => action.kind === 'create').map(addPair));
  return spare;
}

/**
 * Applies a plan, in its order, and appends an audit event for each action. The plan was made under the lock on the
 * keys, in this transaction. It may need more pairs than `spare` has if the keys have changed since.
 */
export async function applyPlan(deps: ApplyDeps, tx: Tx, plan: PlanToApply): Promise<void> {
  const { actions, spare, now, actor, origin, reason } = plan;
  const left = new Map([...spare].map(([alg, pairs]) => [alg, [...pairs]]));
  const takePair = (alg: SigningAlg) => left.get(alg)?.pop() ?? deps.generateKeyPair(alg);
  const events: NewAuditEvent[] = [];
  for (const action of actions) {
    const { type, kid } =
      action.kind === 'create'
        ? await create(deps, tx, { action, now, pair: await takePair(action.alg) })
        : await move(tx, action, now);
    const unpublished = action.kind === 'activate' && action.unpublished ? { unpublished: true } : {};
    const details = { alg: action.alg, ...unpublished, ...(reason === undefined ? {} : { reason }) };
    events.push({ type, actor, origin, objectId: kid, details });
  }
  await deps.audit.append(tx, ...events);
}

async function create(
  { ids, envelope }: ApplyDeps,
  tx: Tx,
  { action, now, pair }: { action: CreateAction; now: Date; pair: KeyPair },
): Promise<Applied> {
  const { alg, state } = action;
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

/**
 * Moves a key to its next state. The lock keeps the plan valid until the transaction ends; this throws if a key was
 * changed without the lock.
 */
async function move(tx: Tx, { kind, kid }: MoveAction, at: Date): Promise<Applied> {
  const { to, event } = moves[kind];
  if (!(await store.moveKey(tx, { kid, to, at }))) {
    throw new BrokerError('internal', { internal: `key ${kid} cannot move to ${to} from its state` });
  }
  return { type: event, kid };
}
