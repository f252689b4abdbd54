"""Gets a token from Hallpass with a private key, by Authlib (https://authlib.org) and Requests.

Usage: authlib_private_key_jwt.py ISSUER CLIENT_ID KEY_FILE RESOURCE SCOPE

KEY_FILE holds the agent's private key (PEM, RSA or P-256). Prints the answer of the token endpoint as JSON.
"""
import json
import sys

from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT

issuer, client_id, key_file, resource, scope = sys.argv[1:6]
token_endpoint = f"{issuer}/oauth2/token"
with open(key_file, encoding="ascii") as file:
    private_key = file.read()

session = OAuth2Session(client_id, private_key, token_endpoint_auth_method="private_key_jwt")
# Authlib names the token endpoint as audience; Hallpass wants the issuer, unless the agent has "legacy_audience": true.
session.register_client_auth_method(PrivateKeyJWT(token_endpoint, claims={"aud": issuer}, alg="ES256"))
token = session.fetch_token(token_endpoint, grant_type="client_credentials", resource=resource, scope=scope)
print(json.dumps(token))
