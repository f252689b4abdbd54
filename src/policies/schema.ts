/**
 * The Cedar schema. Every policy is validated strictly against it.
 *
 * `hour` is 0 to 23 and `weekday` 1 (Monday) to 7 (Sunday, ISO 8601), both in UTC. Every fact is declared as
 * required, so that a policy need not write `context has source_ip`. An unknown fact is left out, and a policy that
 * reads it then fails, which denies the request.
 */
export const policySchema = `
entity Owner;
entity Agent in [Owner] = { name: String, environment: String, labels: Set<String> };
entity Resource = { kind: String, labels: Set<String> };
action "request" appliesTo {
  principal: Agent,
  resource: Resource,
  context: {
    scopes: Set<String>,
    max_risk: String,
    duration_seconds: Long,
    has_ticket: Bool,
    detail_types: Set<String>,
    llm_models: Set<String>,
    llm_actions: Set<String>,
    approvals: Long,
    approver_groups: Set<String>,
    hour: Long,
    weekday: Long,
    source_ip: ipaddr,
    auth_method: String,
    delegated: Bool,
  },
};
`;
