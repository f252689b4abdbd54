import type { NewAuditEvent } from './audit-event.ts';

/**
 * The limits of one event: the audit log only grows, and callers must not decide how fast. They
 * exceed the limits of the contract, so that only fields without a limit there are ever cut.
 */
export const eventLimits = {
  /** UTF-16 code units of an id, an address or the name of a member. */
  id: 512,
  /** UTF-16 code units of a text in `details`. */
  text: 4_096,
  /** Elements of an array, members of an object. */
  items: 2_048,
  /** Levels of nesting in `details`. */
  depth: 40,
  /** Bytes of `details` as JSON. */
  bytes: 32_768,
} as const;

/** Returns the event with every field cut to its limit. A mark in place of the rest states the original size. */
export function boundEvent<Event extends NewAuditEvent>(event: Event): Event {
  const { actor, origin, agentId, grantId, objectId, details } = event;
  const bounded: NewAuditEvent = {
    ...event,
    actor: { ...actor, id: cutId(actor.id), keyId: cutId(actor.keyId ?? null) },
    agentId: cutId(agentId ?? null),
    grantId: cutId(grantId ?? null),
    objectId: cutId(objectId ?? null),
    details: boundDetails(details ?? {}),
  };
  if (origin !== undefined) {
    const { requestId, address } = origin;
    bounded.origin = { ...origin, requestId: cutId(requestId), address: cutId(address) };
  }
  return bounded as Event;
}

function cutId<Id extends string | null>(id: Id): Id {
  return (id === null ? id : cutText(id, eventLimits.id)) as Id;
}

/** Cuts between characters: PostgreSQL refuses half of a surrogate pair. The mark is within the limit. */
function cutText(text: string, limit: number): string {
  if (text.length <= limit) return text.toWellFormed();
  const mark = ` [cut: ${text.length} characters]`;
  return (
    text
      .slice(0, limit - mark.length)
      .replace(/[\ud800-\udbff]$/, '')
      .toWellFormed() + mark
  );
}

type Details = Record<string, unknown>;

/** Converts details to JSON, and cuts each value and then the whole to their limits. */
function boundDetails(details: Details): Details {
  const json = JSON.parse(JSON.stringify(details)) as Details;
  const bounded = boundValue(json, 0) as Details;
  return byteLength(bounded) <= eventLimits.bytes ? bounded : keepSmallest(bounded);
}

function boundValue(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return cutText(value, eventLimits.text);
  if (typeof value !== 'object' || value === null) return value;
  if (depth >= eventLimits.depth) return '[cut: nested deeper]';
  if (Array.isArray(value)) {
    const kept = value.slice(0, eventLimits.items).map((item) => boundValue(item, depth + 1));
    return kept.length === value.length ? kept : [...kept, `[cut: ${value.length} elements]`];
  }
  const members = Object.entries(value);
  const kept = members
    .slice(0, eventLimits.items)
    .map(([name, member]) => [cutText(name, eventLimits.id), boundValue(member, depth + 1)]);
  if (kept.length < members.length) kept.push(['cut', `${members.length} members`]);
  return Object.fromEntries(kept);
}

/** Keeps the smallest members that fit, and replaces each other one by its size while there is space. */
function keepSmallest(details: Details): Details {
  const members = Object.entries(details).map(([name, member]) => ({
    name,
    member,
    bytes: byteLength(member),
  }));
  members.sort((a, b) => byteLength(a.name) + a.bytes - byteLength(b.name) - b.bytes);
  const kept: [string, unknown][] = [['cut', `${byteLength(details)} bytes`]];
  let left = eventLimits.bytes - byteLength(Object.fromEntries(kept));
  for (const { name, member, bytes } of members) {
    const note = `[cut: ${bytes} bytes]`;
    // The lengths of name and note include their quotes; colon and comma add 2.
    const withNote = byteLength(name) + byteLength(note) + 2;
    // A member takes at most a quarter of the remaining space, so that others get at least their note.
    const isKept = bytes <= left / 4;
    if (withNote > left) break;
    kept.push([name, isKept ? member : note]);
    left -= isKept ? byteLength(name) + bytes + 2 : withNote;
  }
  return Object.fromEntries(kept);
}

function byteLength(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}
