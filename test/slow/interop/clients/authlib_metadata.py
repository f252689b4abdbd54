"""Reads and validates the metadata of Hallpass by Authlib (https://authlib.org): RFC 8414 and OpenID Connect Discovery.

Usage: authlib_metadata.py ISSUER BASE_URL

Fetches the documents from BASE_URL. Prints the issuer of each; fails if Authlib refuses one.
"""
import sys

import requests
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oidc.discovery import OpenIDProviderMetadata

issuer, base_url = sys.argv[1:3]
documents = {
    "oauth-authorization-server": AuthorizationServerMetadata,
    "openid-configuration": OpenIDProviderMetadata,
}
for name, metadata_class in documents.items():
    metadata = metadata_class(requests.get(f"{base_url}/.well-known/{name}", timeout=10).json())
    metadata.validate()
    if metadata["issuer"] != issuer:
        sys.exit(f"{name} is of {metadata['issuer']}")
    print(metadata["issuer"])
