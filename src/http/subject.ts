/** The agent, grant or other object that a request is about, taken from the ids in its path. */
export interface Subject {
  agentId: string | null;
  grantId: string | null;
  /** The last id in the path that is not a grant id. */
  objectId: string | null;
}

const typeId = /^([a-z]{3})_[0-7][0-9a-hjkmnp-tv-z]{25}$/;

/** Ignores a parameter that is not a well-formed id: the path of a request that is refused early is not validated. */
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
