/** Roles of the target, of which an account becomes a member (postgres, mysql). */
export interface RoleMapping {
  roles: readonly string[];
}

/** Rules of an access control list (redis). */
export interface RuleMapping {
  rules: string;
}

/** What an account may do in virtual hosts (rabbitmq). */
export interface PermissionMapping {
  permissions: readonly VhostPermission[];
}

/** What an account may do in one virtual host, as regular expressions over names. An empty one permits nothing. */
export interface VhostPermission {
  vhost: string;
  configure: string;
  write: string;
  read: string;
  /** Restricts the routing keys at topic exchanges. An exchange that is not listed has no restriction. */
  topics?: readonly TopicPermission[] | undefined;
}

export interface TopicPermission {
  exchange: string;
  write: string;
  read: string;
}

/** The requests that a scope permits at an API behind the gateway (http). */
export interface RouteMapping {
  routes: readonly { methods: string[]; path: string }[];
}

/** What a scope means in a target or at an API. Each kind of resource has one form; kind `api` has none. */
export type Mapping = RoleMapping | RuleMapping | PermissionMapping | RouteMapping;
