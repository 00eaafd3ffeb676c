"""Broken backends that prove the contract: each breaks one promise by one replaced method, and a case must catch it."""
