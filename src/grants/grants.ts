/** The functions of the grant store that `src/requests/` and `src/tokens/` may call. */
export {
  findGrant,
  findLatest,
  type GrantFilter,
  insertGrant,
  listGrants,
  lockGrant,
  type StoredGrant,
} from './store.ts';
