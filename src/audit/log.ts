/** The functions of the audit store that other folders may call. */
export {
  type AuditPosition,
  continueAuditOrder,
  findLastStablePosition,
  findNextEventTime,
  listEvents,
} from './store.ts';
