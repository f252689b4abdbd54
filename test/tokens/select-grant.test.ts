import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { selectGrant, type UsableGrant } from '../../src/tokens/select-grant.ts';
import { codeThrown } from '../oauth/refusals.ts';

const at = (minute: number): Date => new Date(Date.UTC(2026, 2, 2, 10, minute));
const scope = fc.constantFrom('read', 'write', 'admin', 'chat');
const scopes = fc.uniqueArray(scope, { minLength: 1 });
const grants: fc.Arbitrary<UsableGrant[]> = fc
  .array(fc.record({ scopes, expiresAt: fc.integer({ min: 1, max: 3 }).map(at) }), { maxLength: 6 })
  .chain((found) =>
    fc.shuffledSubarray(
      found.map((grant, i) => ({ ...grant, id: `grt_${i}`, authorizationDetails: null, delegation: null })),
      { minLength: found.length },
    ),
  );
const unpinned = { grantId: undefined, authorizationDetails: undefined };

describe('the grant that a token is minted under', () => {
  it('covers all scopes alone and, of the grants that do, expires last (then: is the newest)', () => {
    fc.assert(
      fc.property(grants, scopes, (found, asked) => {
        const covering = found.filter((grant) => asked.every((one) => grant.scopes.includes(one)));
        const select = () => selectGrant(found, { ...unpinned, scopes: asked }, []);
        if (covering.length === 0) {
          expect(codeThrown(select)).toBe(found.length === 0 ? 'invalid-target' : 'invalid-scope');
          return;
        }
        const chosen = select();
        expect(chosen).toMatchObject({ scopes: asked, selection: 'best' });
        expect(covering).toContain(chosen.grant);
        for (const other of covering) {
          expect(other.expiresAt.getTime()).toBeLessThanOrEqual(chosen.grant.expiresAt.getTime());
          if (other.expiresAt.getTime() === chosen.grant.expiresAt.getTime()) {
            expect(other.id <= chosen.grant.id).toBe(true);
          }
        }
      }),
    );
  });

  it('is the only grant, with all its scopes, if no scope is requested; several are refused', () => {
    fc.assert(
      fc.property(grants, (found) => {
        const select = () => selectGrant(found, { ...unpinned, scopes: undefined }, []);
        if (found.length === 1) {
          expect(select()).toEqual({ grant: found[0], scopes: found[0]?.scopes, selection: 'only' });
        } else {
          expect(codeThrown(select)).toBe(found.length === 0 ? 'invalid-target' : 'invalid-scope');
        }
      }),
    );
  });

  it('is the one that the request names, even if others would suffice', () => {
    fc.assert(
      fc.property(grants, fc.option(scopes, { nil: undefined }), fc.nat(7), (found, asked, n) => {
        const grantId = `grt_${n}`;
        const pinned = found.find(({ id }) => id === grantId);
        const select = () => selectGrant(found, { ...unpinned, scopes: asked, grantId }, []);
        if (pinned === undefined) expect(codeThrown(select)).toBe('invalid-grant');
        else if (asked?.some((one) => !pinned.scopes.includes(one))) {
          expect(codeThrown(select)).toBe('invalid-scope');
        } else {
          expect(select()).toEqual({ grant: pinned, scopes: asked ?? pinned.scopes, selection: 'pinned' });
        }
      }),
    );
  });

  it('is selected without changing the list of grants', () => {
    fc.assert(
      fc.property(grants, (found) => {
        const before = [...found];
        try {
          selectGrant(found, { ...unpinned, scopes: ['read'] }, []);
        } catch {}
        expect(found).toEqual(before);
      }),
    );
  });
});
