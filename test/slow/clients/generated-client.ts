/** The parts of a grant that the story reads. */
export interface Grant {
  id: string;
  status: string;
  request_digest: string;
  end_reason: string | null;
  decision: { approvals_required: number; approvals: { by: string }[] };
}

export interface GrantRequest {
  resource: string;
  scopes: string[];
  duration_seconds: number;
  reason: string;
}

/** The operations of one caller, by a generated client: each returns the body of a success and throws on an error. */
export interface Caller {
  createAdmin(body: {
    name: string;
    email: string;
    roles: ('admin' | 'approver' | 'auditor')[];
  }): Promise<{ id: string }>;
  createAdminKey(adminId: string, body: { name: string }): Promise<{ key: string }>;
  createResource(body: {
    identifier: string;
    name: string;
    kind: 'api';
    max_grant_seconds: number;
    scopes: { name: string; description: string; risk: 'low' | 'medium' | 'high' }[];
  }): Promise<{ id: string; identifier: string }>;
  createPolicy(body: { name: string; cedar: string }): Promise<{ version: number }>;
  createAgent(body: {
    name: string;
    owner: string;
    environment: 'staging';
    token_endpoint_auth_method: 'client_secret_post';
  }): Promise<{ client_id: string; client_secret?: string | undefined }>;
  createGrant(body: GrantRequest): Promise<Grant>;
  /** Requests a grant that policy denies. Returns the error, which the client must have typed as a `DeniedProblem`. */
  requestDeniedGrant(
    body: GrantRequest,
  ): Promise<{ code: string; status: number; hints?: { scopes: string[] }[] | undefined }>;
  getGrant(grantId: string, waitSeconds: number): Promise<Grant>;
  approveGrant(grantId: string, body: { request_digest: string; note: string }): Promise<Grant>;
  revokeGrant(grantId: string, body: { reason: string }): Promise<Grant>;
  listEventTypes(grantId: string): Promise<string[]>;
}

export interface Credentials {
  client_id: string;
  client_secret: string;
}

/** A client that was generated from the contract. The last three operations send forms. */
export interface GeneratedClient {
  as(credential: string): Caller;
  issueToken(
    form: Credentials & { grant_type: 'client_credentials'; resource?: string; scope?: string },
  ): Promise<{ access_token: string; token_type: string; scope: string; grant_id?: string | undefined }>;
  introspectToken(
    form: Credentials & { token: string },
  ): Promise<{ active: boolean; scope?: string | undefined }>;
  revokeToken(form: Credentials & { token: string }): Promise<void>;
}
