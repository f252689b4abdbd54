import { BrokerError } from '../errors.ts';
import type { Decision, DecisionRequest, PolicyRef } from '../grants/facts.ts';
import { normaliseAddress } from '../platform/address.ts';
import type { Random } from '../platform/random.ts';
import { type Cedar, type CedarCall, instantiateCedar } from './cedar.ts';
import { scanPolicy } from './policy-scan.ts';

/** A stored policy. Its text may have several statements. */
export interface PolicyDocument {
  id: string;
  version: number;
  cedar: string;
}

export interface PolicyEngine {
  /** The epoch of the policies in force; undefined before the first `load`. */
  readonly epoch: bigint | undefined;
  /** Every string literal in the policies in force. */
  readonly literals: ReadonlySet<string>;
  /**
   * Replaces the policies in force atomically and synchronously. Returns false, and changes nothing, if the policies
   * in force have a later epoch. Throws `internal`, and changes nothing, if a document cannot be parsed.
   */
  load(policies: readonly PolicyDocument[], epoch: bigint | number): boolean;
  /** Returns to the state before the first `load`. */
  reset(): void;
  /**
   * Decides without I/O: denies by default, `forbid` overrides `permit`, and any error denies. An exception becomes
   * an `error`.
   */
  decide(request: DecisionRequest): Decision;
}

interface Statement {
  policy: PolicyRef;
  /** The number of the statement within its document, counted from 1. */
  number: number;
  text: string;
}

interface PolicySet {
  epoch: bigint;
  statements: ReadonlyMap<string, Statement>;
  literals: ReadonlySet<string>;
}

const unparsable = (document: PolicyDocument | undefined, internal: string): BrokerError =>
  new BrokerError('internal', { internal: `policy ${document?.id ?? 'set'} cannot be loaded: ${internal}` });

function splitDocument(cedar: Cedar, document: PolicyDocument): Statement[] {
  const parts = cedar.policySetTextToParts(document.cedar);
  if (parts.type === 'failure') throw unparsable(document, parts.errors.map((e) => e.message).join('; '));
  if (parts.policy_templates.length > 0) throw unparsable(document, 'it contains a template');
  const policy = { id: document.id, version: document.version };
  return parts.policies.map((text, index) => ({ policy, number: index + 1, text }));
}

function parseDocuments(cedar: Cedar, documents: readonly PolicyDocument[]): Omit<PolicySet, 'epoch'> {
  const statements = new Map<string, Statement>();
  const literals = new Set<string>();
  for (const document of documents) {
    const scan = scanPolicy(document.cedar);
    if (scan.tooDeepAt !== undefined) throw unparsable(document, 'it is too deep to evaluate');
    for (const literal of scan.literals) literals.add(literal);
    for (const statement of splitDocument(cedar, document)) statements.set(`s${statements.size}`, statement);
  }
  return { statements, literals };
}

function prepare(cedar: Cedar, name: string, statements: PolicySet['statements']): void {
  const staticPolicies = Object.fromEntries([...statements].map(([id, { text }]) => [id, text]));
  const answer = cedar.preparsePolicySet(name, { staticPolicies });
  if (answer.type === 'failure') throw unparsable(undefined, answer.errors.map((e) => e.message).join('; '));
}

type Fact = string | number | boolean | readonly string[] | null | undefined;

/** Returns Cedar's context. An unknown fact is left out, never null. */
function contextOf({ context }: DecisionRequest): CedarCall['context'] {
  const { source_ip: address, ...facts } = context;
  const known: CedarCall['context'] = {};
  for (const [name, fact] of Object.entries<Fact>(facts)) {
    if (fact === undefined || fact === null) continue;
    known[name] = typeof fact === 'object' ? [...fact] : fact;
  }
  const source = address === undefined || address === null ? undefined : normaliseAddress(address);
  if (source !== undefined) known.source_ip = { __extn: { fn: 'ip', arg: source } };
  return known;
}

function callOf(request: DecisionRequest, policySetName: string): CedarCall {
  const { principal, resource } = request;
  const agent = { type: 'Agent', id: principal.id };
  const target = { type: 'Resource', id: resource.identifier };
  return {
    principal: agent,
    action: { type: 'Action', id: 'request' },
    resource: target,
    context: contextOf(request),
    preparsedPolicySetId: policySetName,
    entities: [
      {
        uid: agent,
        attrs: { name: principal.name, environment: principal.environment, labels: [...principal.labels] },
        parents: [{ type: 'Owner', id: principal.owner }],
      },
      { uid: target, attrs: { kind: resource.kind, labels: [...resource.labels] }, parents: [] },
    ],
  };
}

/** Returns every string in the facts, at any depth. */
export function factStrings(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(factStrings) : [];
}

const failed = (error: string, policies: PolicyRef[] = []): Decision => ({
  decision: 'error',
  policies,
  errors: [error],
});

function distinctPolicies(ids: readonly string[], statements: PolicySet['statements']): PolicyRef[] {
  const found = ids.flatMap((id) => statements.get(id)?.policy ?? []);
  const distinct = new Map(found.map((policy) => [`${policy.id}@${policy.version}`, policy]));
  return [...distinct]
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([, { id, version }]) => ({ id, version }));
}

function readAnswer(answer: ReturnType<Cedar['statefulIsAuthorized']>, set: PolicySet): Decision {
  if (answer.type === 'failure') return failed(answer.errors.map((error) => error.message).join('; '));
  const { reason, errors } = answer.response.diagnostics;
  if (errors.length > 0) {
    const ids = errors.map((error) => error.policyId);
    const texts = errors.map(({ policyId, error }) => {
      const statement = set.statements.get(policyId);
      return `${statement?.policy.id}@${statement?.policy.version} statement ${statement?.number}: ${error.message}`;
    });
    return { decision: 'error', policies: distinctPolicies(ids, set.statements), errors: texts.sort() };
  }
  const decision = answer.response.decision === 'allow' ? 'permit' : 'deny';
  return { decision, policies: distinctPolicies(reason, set.statements), errors: [] };
}

/**
 * Creates the Cedar instance at its first use, and discards it after an exception, which may have damaged it: the
 * next call creates a new one.
 */
function createRenewableInstance(prepareInto: (cedar: Cedar) => void) {
  let instance: Cedar | undefined;
  return <T>(use: (cedar: Cedar) => T): T => {
    try {
      if (instance === undefined) {
        const renewed = instantiateCedar();
        prepareInto(renewed);
        instance = renewed;
      }
      return use(instance);
    } catch (error) {
      instance = undefined;
      throw error;
    }
  };
}

/**
 * Creates an engine that decides with Cedar. Prepared policy sets are global within a WebAssembly instance and are
 * identified by name. Each engine has its own instance and overwrites one random name, so that memory does not grow
 * with changes.
 */
export function createPolicyEngine({ random }: { random: Random }): PolicyEngine {
  const name = random.bytes(16).toString('hex');
  let inForce: PolicySet | undefined;
  const withCedar = createRenewableInstance((cedar) => {
    if (inForce !== undefined) prepare(cedar, name, inForce.statements);
  });

  function evaluate(set: PolicySet, request: DecisionRequest): Decision {
    try {
      // Cedar throws on a lone surrogate, and an exception costs the instance.
      if (factStrings(request).some((text) => /\p{Surrogate}/u.test(text))) {
        return failed('a fact is not well-formed Unicode');
      }
      return withCedar((cedar) => readAnswer(cedar.statefulIsAuthorized(callOf(request, name)), set));
    } catch (error) {
      return failed(`Cedar threw: ${String(error)}`);
    }
  }

  return {
    get epoch() {
      return inForce?.epoch;
    },
    get literals() {
      return inForce?.literals ?? new Set<string>();
    },
    load(policies, epoch) {
      const wanted = BigInt(epoch);
      if (inForce !== undefined && inForce.epoch > wanted) return false;
      inForce = withCedar((cedar) => {
        const next = { epoch: wanted, ...parseDocuments(cedar, policies) };
        prepare(cedar, name, next.statements);
        return next;
      });
      return true;
    },
    reset() {
      inForce = undefined;
    },
    decide: (request) =>
      inForce === undefined ? failed('no policies have been loaded') : evaluate(inForce, request),
  };
}
