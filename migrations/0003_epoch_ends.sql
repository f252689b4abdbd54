-- What ended a grant first, its own time or the epoch it was issued under, is told the same for ever, so both times must be
-- known: element n is the instant at which epoch n ended. What was raised before this migration is told by the last change.
alter table agents add column epoch_ends timestamptz[] not null default '{}';
alter table resources add column epoch_ends timestamptz[] not null default '{}';
update agents set epoch_ends = array_fill(updated_at, array[(epoch - 1)::integer]) where epoch > 1;
update resources set epoch_ends = array_fill(updated_at, array[(epoch - 1)::integer]) where epoch > 1;

-- In the database, so that no statement raises an epoch without it, nor a replica of the version before.
create function note_epoch_end() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  for ended in old.epoch .. new.epoch - 1 loop
    new.epoch_ends[ended] := new.updated_at;
  end loop;
  return new;
end $$;
create trigger agents_epoch_ends before update of epoch on agents for each row execute function note_epoch_end();
create trigger resources_epoch_ends before update of epoch on resources for each row execute function note_epoch_end();
