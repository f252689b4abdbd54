/** Roles of the target, of which an account becomes a member (postgres, mysql). */
export interface RoleMapping {
  roles: readonly string[];
}

/** Rules of an access control list (redis). */
export interface RuleMapping {
  rules: string;
}

/** What an account may do in a virtual host, as regular expressions over names (rabbitmq). */
export interface PermissionMapping {
  permissions: readonly { vhost: string; configure: string; write: string; read: string }[];
}

/** What a scope means in a target. Each kind of resource has one form. */
export type Mapping = RoleMapping | RuleMapping | PermissionMapping;
