/** What a request is about, by the ids in its path. */
export interface Subject {
  agentId: string | null;
  grantId: string | null;
  /** The last thing that the path names, unless that is the grant. */
  objectId: string | null;
}

const typeId = /^([a-z]{3})_[0-7][0-9a-hjkmnp-tv-z]{25}$/;

/** Takes only what looks like an id: the path of somebody who may not call it has not been validated. */
export function subjectOf(params: Readonly<Record<string, unknown>>): Subject {
  const subject: Subject = { agentId: null, grantId: null, objectId: null };
  for (const id of Object.values(params)) {
    const prefix = typeof id === 'string' ? typeId.exec(id)?.[1] : undefined;
    if (typeof id !== 'string' || prefix === undefined) continue;
    if (prefix === 'agt') subject.agentId = id;
    if (prefix === 'grt') subject.grantId = id;
    else subject.objectId = id;
  }
  return subject;
}
