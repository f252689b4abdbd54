/** A word or phrase that a reader does not know from OAuth, PostgreSQL or operations, and what to write instead. */
export interface PrivateWord {
  /** The source of a regular expression that matches whole words, in upper or lower case. A space also matches a line break. */
  pattern: string;
  /** What to write instead. */
  instead: string;
}

/** The words that `npm run check` refuses. A word that also has a correct use is not in the list. */
export const privateWords: readonly PrivateWord[] = [
  { pattern: 'hand(?:s|ed|ing)?(?: (?:it|them))? (?:down|on)', instead: 'delegate, pass' },
  { pattern: 'mend(?:s|ed|ing)?', instead: 'fix, repair' },
  { pattern: 'tales?|finales?', instead: 'history, final checks' },
  { pattern: 'whoever|whosoever|whomever', instead: 'the caller that, anyone who, a person who' },
  { pattern: 'whatever', instead: 'any, regardless of, everything that' },
  { pattern: 'who (?:comes|asks|brings)', instead: 'the caller, a caller that requests' },
  { pattern: "(?:in|is) nobody[’']s way", instead: 'does not delay others' },
  { pattern: '(?:the|on) record(?! (?:of|for|in)\\b)', instead: 'audit log, audit event' },
  { pattern: '(?:by|at|on) (?:its|his|her|their|whose) word', instead: 'because the issuer says so' },
  { pattern: '(?:take|takes|taken|taking|took)(?: it| them)? back', instead: 'revoke, withdraw, cancel' },
  { pattern: 'used up', instead: 'used, exhausted' },
  { pattern: 'for ever', instead: 'permanently, without limit' },
  { pattern: 'got (?:with|by)', instead: 'obtained with' },
  { pattern: '(?:is|are|was|were) dead(?! (?:code|letters?|tuples?))', instead: 'inactive, has ended' },
  { pattern: 'reviv(?:e|es|ed|al)', instead: 'become active again, renew' },
  { pattern: 'bites?|bitten', instead: 'takes effect' },
  { pattern: '(?:one|ones|those|that|version) of before', instead: 'the previous version' },
  { pattern: 'anew', instead: 'again' },
  { pattern: 'once more', instead: 'again' },
  { pattern: '(?:is|are|was|were|be|been|being) told', instead: 'gets, is reported, is logged, is answered' },
  { pattern: 'as told|so told|tells? why', instead: 'as described, describe the refusal' },
  {
    pattern: '(?:prove|proves|proved|proving) (?:itself|themselves|oneself)',
    instead: 'authenticate, identify',
  },
  {
    pattern: '(?:write|writes|wrote|written|writing)(?: it| them| that)? down',
    instead: 'write as ended, store',
  },
  { pattern: '(?:run|runs|ran|running) out(?! of)', instead: 'expire, be exhausted' },
  { pattern: '(?:is|are|be|not|was|were) believed', instead: 'trusted, accepted' },
  { pattern: 'at the door', instead: 'before any work is done' },
  { pattern: 'comes? of (?:it|that|this)', instead: 'results from it' },
  { pattern: '(?:is|are|not) such', instead: 'name the thing again' },
  { pattern: 'asTold|tellWhy|endGotWith', instead: 'a standard term, see docs/glossary.md' },
];
