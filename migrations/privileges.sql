-- The complete privileges of the application role. Runs after every migration, so it always names the whole
-- schema; `:role` stands for the quoted name of the role. Granting an existing privilege changes nothing.
-- Two transactions that grant on one table at the same time fail with "tuple concurrently updated".
select pg_advisory_xact_lock(hashtext('hallpass.grants'));

-- Revokes what an earlier version granted and this one does not. Other transactions do not see the state between.
revoke all on all tables in schema public from :role;
grant usage on schema public to :role;
grant select on public.migrations, public.audit_order, public.agent_owners, public.installation to :role;
grant select, insert, update on public.admins, public.admin_keys, public.agents, public.agent_secrets,
  public.resources, public.resource_secrets, public.policies, public.grants, public.signing_keys, public.jobs,
  public.trusted_issuers, public.feeds to :role;
grant select, insert, update on public.leases to :role;
grant select, insert on public.calls to :role;
grant update (ended_at, outcome, upstream_status, request_bytes, request_sha256, response_bytes, response_sha256)
  on public.calls to :role;
grant select, insert, delete on public.connections to :role;
grant update (password_sealed, password_changed_at, pending_password_sealed, pending_at, rotation_failed_at)
  on public.connections to :role;
grant select, insert, update, delete on public.preflights to :role;
-- Slug and protocol never change.
grant select, insert on public.upstreams to :role;
grant update (base_url, credential_type, credential_name, ca, connect_seconds, response_seconds, idle_seconds)
  on public.upstreams to :role;
grant select, insert, delete on public.upstream_credentials to :role;
grant update (secret_sealed) on public.upstream_credentials to :role;
grant select, insert on public.bootstrap, public.policy_versions, public.approvals, public.used_values to :role;
-- Not tx: the position in the audit log is never chosen by the application.
grant select, insert (id, at, type, outcome, actor_kind, actor_id, actor_key_id, agent_id, grant_id,
  object_id, request_id, source_ip, details) on public.audit_events to :role;
grant select, insert, update on public.master_key_check to :role;
grant select, update on public.policy_epoch to :role;
grant select, insert, delete on public.idempotency_keys to :role;
grant select, insert, update, delete on public.job_runs, public.ended_epochs, public.grant_endings to :role;
grant select, insert on public.tokens to :role;
grant update (revoked_at) on public.tokens to :role;
grant execute on function public.ensure_partitions, public.drop_partitions, public.continue_audit_order to :role;
