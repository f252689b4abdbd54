-- Whether a token request that no grant of the agent covers asks for one.
alter table agents add column grants_on_demand boolean not null default false;
