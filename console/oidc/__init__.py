"""Signing in through the team's identity provider (OpenID Connect), with django-allauth doing the exchange.

configuration.py reads the variables, provider.py speaks with the issuer, people.py decides whose account it is, and
pages.py has the two addresses. They are mounted only where OIDC_ISSUER is set; allauth's own pages never are.
"""
