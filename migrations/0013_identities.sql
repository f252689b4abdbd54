-- An agent has one credential for each of its keys, and may have several identities at trusted issuers.

-- Writes equal conditions in one way: lists without repetition and in order, a list of one value as the value.
create function canonical_conditions(p_conditions jsonb) returns jsonb language sql immutable
set search_path = pg_catalog, pg_temp as $$
  select coalesce(jsonb_object_agg(c.key, case
      when jsonb_typeof(c.value) <> 'array' then c.value
      when jsonb_array_length(v.list) = 1 then v.list -> 0
      else v.list end), '{}')
    from jsonb_each(p_conditions) c
    left join lateral (
      select jsonb_agg(d.value order by d.value::text collate "C") as list
        from (select distinct e.value from jsonb_array_elements(
          case when jsonb_typeof(c.value) = 'array' then c.value else '[]' end) e) d
    ) v on true
$$;

-- The claim by which a token finds an identity, as `name=value`: its subject, or a claim that names the tenant.
alter table agent_secrets add column identifying_claim text;
update agent_secrets set identifying_claim = 'sub=' || subject, claims = canonical_conditions(claims) where subject is not null;
alter table agent_secrets drop constraint agent_secrets_one_proof;
alter table agent_secrets add constraint agent_secrets_one_credential check (
  num_nonnulls(secret_hash, jwks, jwks_uri, identifying_claim) = 1
  and num_nonnulls(trusted_issuer_id, identifying_claim, claims) in (0, 3)
  and (subject is null or identifying_claim is not null));

-- A replica of the previous version knows neither the column nor the canonical form.
create function set_identifying_claim() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  new.identifying_claim := 'sub=' || new.subject;
  new.claims := public.canonical_conditions(new.claims);
  return new;
end $$;
create trigger agent_secrets_identifying_claim before insert on agent_secrets
  for each row when (new.subject is not null and new.identifying_claim is null) execute function set_identifying_claim();

-- Hashes, because an index entry has at most 2,704 bytes.
drop index agent_secrets_without_secret;
create unique index agent_secrets_one_url on agent_secrets (client_id) where revoked_at is null and jwks_uri is not null;
create unique index agent_secrets_one_key on agent_secrets (client_id, md5(jwks::text))
  where revoked_at is null and jwks is not null;
-- An identity is one agent. Which of its claims identifies it does not matter, and may differ.
drop index agent_secrets_one_subject;
create unique index agent_secrets_one_identity on agent_secrets (trusted_issuer_id, md5(coalesce(subject, '')), md5(claims::text))
  where revoked_at is null and trusted_issuer_id is not null;
create index agent_secrets_identifying_claim on agent_secrets (trusted_issuer_id, md5(identifying_claim))
  where revoked_at is null and trusted_issuer_id is not null;

-- One `iss` may be several issuers, which differ by audience or by the source of their keys.
alter table trusted_issuers add column key_source text;
create function set_key_source() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  new.key_source := coalesce('jwks_uri ' || new.jwks_uri, 'jwks ' || md5(new.jwks::text), 'discovery');
  return new;
end $$;
create trigger trusted_issuers_key_source before insert on trusted_issuers
  for each row when (new.key_source is null) execute function set_key_source();
update trusted_issuers set key_source = coalesce('jwks_uri ' || jwks_uri, 'jwks ' || md5(jwks::text), 'discovery');
alter table trusted_issuers alter column key_source set not null;
drop index trusted_issuers_issuer;
create unique index trusted_issuers_one_source on trusted_issuers (md5(issuer), md5(audience), md5(key_source))
  where deleted_at is null;
-- Claims that name the tenant, beside those that are known of CI platforms.
alter table trusted_issuers add column tenant_claims text[] not null default '{}';

-- Nothing uses these any more: privileges.sql grants, and grants are found by the id of their subject token issuer.
drop function grant_application_role(name);
drop index grants_by_subject_issuer;
