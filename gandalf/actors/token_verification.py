"""Verifies JWTs with joserfc: header, signature, times, audience. Pure functions.

Nothing a token claims is told back before its signature is verified, but for the
algorithm of its header. Messages never hold the token or a part of its signature.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from joserfc import jwk, jws
from joserfc.errors import JoseError

from gandalf.config import Issuer
from gandalf.domain.errors import Unauthenticated

MAX_KEYS = 100
"""Keys of one issuer that are kept. Issuers publish two or three."""

MIN_RSA_BITS = 2048

# Of tokens for resource servers and of identity tokens; logout tokens, for instance,
# have another type and must not open anything.
_TYPES = frozenset({"jwt", "at+jwt"})

_KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "Ed25519": "Ed25519"}


class SigningKey(NamedTuple):
    """One public key of an issuer."""

    key_id: str
    key_type: str
    curve: str
    """Empty for RSA."""
    algorithm: str
    """The only algorithm that the key is for. Empty: any of its type."""
    thumbprint: str
    """Hash of the key itself."""
    public_key: jwk.Key


class Header(msgspec.Struct, frozen=True):
    """The fields of a token's header that decide about it."""

    alg: str
    kid: str | None = None
    typ: str | None = None
    crit: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _IssuerOnly(msgspec.Struct):
    iss: str


class Parsed(NamedTuple):
    """A token whose signature is not verified yet."""

    header: Header
    issuer: str


_decode_header = msgspec.json.Decoder(Header).decode
_decode_issuer = msgspec.json.Decoder(_IssuerOnly).decode
_decode_claims = msgspec.json.Decoder(dict[str, Any]).decode
_decode_key_set = msgspec.json.Decoder(dict[str, Any]).decode


def parse(token: bytes) -> Parsed:
    """Return the header and the issuer that ``token`` claims.

    Raises:
        Unauthenticated: It is no JWT, or of a kind that is not accepted.
    """
    head, _, rest = token.partition(b".")
    try:
        header = _decode_header(_base64url(head))
        issuer = _decode_issuer(_base64url(rest.partition(b".")[0])).iss
    except (ValueError, RecursionError) as error:  # base64's and JSON's are ValueErrors
        raise refused("this is neither an api key of this gateway nor a JWT") from error
    if header.crit is not msgspec.UNSET:
        raise refused("the token's header has critical extensions (crit)")
    kind = (header.typ or "jwt").lower().removeprefix("application/")
    if kind not in _TYPES:
        raise refused("the token's type (typ) is not JWT or at+jwt")
    return Parsed(header, issuer)


def read_keys(document: bytes) -> tuple[SigningKey, ...]:
    """Return the keys of a JSON Web Key Set that may sign tokens.

    Keys of other kinds (symmetric, for encryption, too short) are left out: an issuer
    may publish them for other uses.

    Raises:
        ValueError: It is no key set, or has no usable key.
    """
    try:
        listed = _decode_key_set(document).get("keys")
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError("the answer is not a JSON Web Key Set") from error
    if not isinstance(listed, list):
        raise ValueError("the answer is not a JSON Web Key Set")
    keys = [key for each in listed[:MAX_KEYS] if (key := _signing_key(each))]
    if not keys:
        raise ValueError("the key set has no key that may sign tokens")
    return tuple(keys)


def find_key(
    keys: tuple[SigningKey, ...], header: Header, issuer: Issuer
) -> SigningKey | None:
    """Return the key that must have signed a token; None if it is not known.

    Raises:
        Unauthenticated: No key of the issuer may sign such a token.
    """
    if header.alg not in issuer.algorithms:
        allowed = ", ".join(issuer.algorithms)
        raise refused(f"the token's algorithm is not one of {allowed}")
    fitting = [key for key in keys if _fits(key, header.alg)]
    if header.kid is not None:
        return next((key for key in fitting if key.key_id == header.kid), None)
    if len(fitting) != 1:
        raise refused("the token does not name its key (kid)")
    return fitting[0]


def verify(
    token: bytes, header: Header, key: SigningKey, issuer: Issuer, now: float
) -> dict[str, Any]:
    """Return the claims of ``token`` once everything about it is verified.

    Raises:
        Unauthenticated: A check failed.
    """
    registry = jws.JWSRegistry(algorithms=[header.alg], strict_check_header=False)
    registry.max_header_length = len(token)
    try:
        verified = jws.deserialize_compact(token, key.public_key, registry=registry)
        claims = _decode_claims(verified.payload)
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise refused("the token's signature is not valid") from error
    _check_claims(claims, issuer, now)
    return claims


def expires_at(claims: Mapping[str, Any], issuer: Issuer) -> float:
    """Return the Unix time from which verified ``claims`` are not accepted."""
    return float(claims["exp"]) + issuer.leeway


def refused(message: str, code: str = "invalid_token") -> Unauthenticated:
    """Return the 401 for a token."""
    return Unauthenticated(message, code=code)


def _check_claims(claims: Mapping[str, Any], issuer: Issuer, now: float) -> None:
    if claims.get("iss") != issuer.issuer:
        raise refused("the token is of another issuer")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if not any(one in issuer.audiences for one in audiences if isinstance(one, str)):
        raise refused("the token is for another audience (aud)")
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        raise refused("the token names no subject (sub)")
    expiry = _time(claims, "exp")
    if expiry is None:
        raise refused("the token has no expiry (exp)")
    if expires_at(claims, issuer) <= now:
        raise refused(f"the token expired on {_date(expiry)}", "token_expired")
    for name, told in (("nbf", "is not valid before"), ("iat", "is issued only on")):
        begin = _time(claims, name)
        if begin is not None and begin > now + issuer.leeway:
            raise refused(f"the token {told} {_date(begin)}")


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refused(f"the token's {name} is not a time")
    return float(value)


def _signing_key(fields: object) -> SigningKey | None:
    if not isinstance(fields, dict) or fields.get("use", "sig") != "sig":
        return None
    if fields.get("kty") not in _KEY_TYPES.values():
        return None
    try:
        if fields["kty"] == "RSA" and _rsa_bits(fields["n"]) < MIN_RSA_BITS:
            return None
        key = jwk.import_key(_public(fields))
    except Exception:  # noqa: BLE001 - which ones malformed keys cause is open-ended
        return None
    return SigningKey(
        key_id=str(fields.get("kid", "")),
        key_type=str(fields["kty"]),
        curve=str(fields.get("crv", "")),
        algorithm=str(fields.get("alg", "")),
        thumbprint=key.thumbprint(),
        public_key=key,
    )


def _public(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that verification needs; what others say may be malformed."""
    return {k: fields[k] for k in ("kty", "n", "e", "crv", "x", "y") if k in fields}


def _rsa_bits(modulus: str) -> int:
    return int.from_bytes(_base64url(modulus.encode())).bit_length()


def _fits(key: SigningKey, algorithm: str) -> bool:
    if key.algorithm and key.algorithm != algorithm:
        return False
    if key.key_type != _KEY_TYPES[algorithm[:2]]:
        return False
    return key.curve == _CURVES.get(algorithm, "")


def _base64url(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), b"-_", validate=True)


def _date(unix_time: float) -> str:
    try:
        told = datetime.fromtimestamp(unix_time, UTC)
    except (OverflowError, ValueError, OSError):
        return "a day that no calendar has"
    return told.strftime("%Y-%m-%d %H:%M UTC")
