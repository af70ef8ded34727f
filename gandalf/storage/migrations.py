"""The schema, as the steps that lead to it. ``PRAGMA user_version`` counts them.

A released migration is never edited: what is wrong with it is corrected by the next.
Each is applied in one transaction, after the database, if it holds anything, was
copied to ``<path>.v<version>.bak``.

Units: ``*_at`` is Unix time in REAL seconds (UTC by definition); ``*_us`` is INTEGER
microseconds, because a third of the bytes of a REAL do and sums of them are exact.
NULL tokens were not reported; they are not zero.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from gandalf.storage.errors import MigrationFailed, SchemaForeign, SchemaTooNew

# Pollers of keys read key_version (one row, one page) and then only api_keys.version >
# what they have; last_used_at does not count as a change. Keys are blocked, not
# deleted: a row that is gone could not be found by its version, so what owns keys
# cannot be deleted either.
_FIRST = """
CREATE TABLE organizations (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL DEFAULT '',
    allowed_models TEXT NOT NULL DEFAULT '[]',
    allowed_providers TEXT NOT NULL DEFAULT '[]',
    rpm_limit INTEGER,
    tpm_limit INTEGER,
    max_concurrent INTEGER,
    tags TEXT NOT NULL DEFAULT '{}',
    metadata TEXT NOT NULL DEFAULT '{}',
    blocked INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL DEFAULT 0
);
INSERT INTO organizations (id, name, created_at)
VALUES ('default', 'Default Organization', CAST(strftime('%s', 'now') AS REAL));

CREATE TABLE teams (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organizations (id) ON DELETE RESTRICT,
    name TEXT NOT NULL DEFAULT '',
    allowed_models TEXT NOT NULL DEFAULT '[]',
    allowed_providers TEXT NOT NULL DEFAULT '[]',
    rpm_limit INTEGER,
    tpm_limit INTEGER,
    max_concurrent INTEGER,
    tags TEXT NOT NULL DEFAULT '{}',
    metadata TEXT NOT NULL DEFAULT '{}',
    blocked INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL DEFAULT 0
);
CREATE INDEX teams_by_org ON teams (org_id);

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organizations (id) ON DELETE RESTRICT,
    team_id TEXT REFERENCES teams (id) ON DELETE RESTRICT,
    name TEXT NOT NULL DEFAULT '',
    allowed_models TEXT NOT NULL DEFAULT '[]',
    allowed_providers TEXT NOT NULL DEFAULT '[]',
    rpm_limit INTEGER,
    tpm_limit INTEGER,
    max_concurrent INTEGER,
    tags TEXT NOT NULL DEFAULT '{}',
    metadata TEXT NOT NULL DEFAULT '{}',
    blocked INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL DEFAULT 0
);
CREATE INDEX users_by_org ON users (org_id);

CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    key_hash TEXT NOT NULL UNIQUE,
    key_prefix TEXT NOT NULL DEFAULT '',
    name TEXT NOT NULL DEFAULT '',
    user_id TEXT,
    team_id TEXT REFERENCES teams (id) ON DELETE RESTRICT,
    org_id TEXT NOT NULL DEFAULT 'default'
        REFERENCES organizations (id) ON DELETE RESTRICT,
    role TEXT NOT NULL DEFAULT 'member',
    allowed_models TEXT NOT NULL DEFAULT '[]',
    rpm_limit INTEGER,
    tpm_limit INTEGER,
    max_concurrent INTEGER,
    allowed_providers TEXT NOT NULL DEFAULT '[]',
    tags TEXT NOT NULL DEFAULT '{}',
    metadata TEXT NOT NULL DEFAULT '{}',
    max_budget_nanousd INTEGER,
    expires_at REAL,
    blocked INTEGER NOT NULL DEFAULT 0,
    revoked INTEGER NOT NULL DEFAULT 0,
    blocked_at REAL,
    created_at REAL NOT NULL,
    last_used_at REAL,
    version INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX api_keys_by_version ON api_keys (version);
CREATE INDEX api_keys_by_org ON api_keys (org_id);
CREATE INDEX api_keys_by_team ON api_keys (team_id);

CREATE TABLE key_version (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
);
INSERT INTO key_version VALUES (1, 0);

CREATE TRIGGER api_key_inserted AFTER INSERT ON api_keys BEGIN
    UPDATE key_version SET version = version + 1;
    UPDATE api_keys SET version = (SELECT version FROM key_version)
    WHERE id = NEW.id;
END;
CREATE TRIGGER api_key_updated AFTER UPDATE OF
    id, key_hash, key_prefix, name, user_id, team_id, org_id, role, allowed_models,
    rpm_limit, tpm_limit, max_concurrent, allowed_providers, tags, metadata,
    max_budget_nanousd, expires_at, blocked, revoked, created_at
ON api_keys BEGIN
    UPDATE key_version SET version = version + 1;
    UPDATE api_keys SET version = (SELECT version FROM key_version)
    WHERE id = NEW.id;
END;
CREATE TRIGGER api_key_blocked AFTER UPDATE OF blocked ON api_keys
WHEN NEW.blocked AND NOT OLD.blocked BEGIN
    UPDATE api_keys SET blocked_at = round((julianday('now') - 2440587.5) * 86400.0)
    WHERE id = NEW.id;
END;
CREATE TRIGGER api_key_unblocked AFTER UPDATE OF blocked ON api_keys
WHEN OLD.blocked AND NOT NEW.blocked BEGIN
    UPDATE api_keys SET blocked_at = NULL, revoked = 0 WHERE id = NEW.id;
END;
CREATE TRIGGER api_key_deleted AFTER DELETE ON api_keys BEGIN
    UPDATE key_version SET version = version + 1;
END;
-- A tenant's change is a change of each of its keys.
CREATE TRIGGER organization_inserted AFTER INSERT ON organizations BEGIN
    UPDATE key_version SET version = version + 1;
    UPDATE api_keys SET version = (SELECT version FROM key_version)
    WHERE org_id = NEW.id;
END;
CREATE TRIGGER organization_updated AFTER UPDATE ON organizations BEGIN
    UPDATE key_version SET version = version + 1;
    UPDATE api_keys SET version = (SELECT version FROM key_version)
    WHERE org_id = NEW.id;
END;
CREATE TRIGGER team_inserted AFTER INSERT ON teams BEGIN
    UPDATE key_version SET version = version + 1;
    UPDATE api_keys SET version = (SELECT version FROM key_version)
    WHERE team_id = NEW.id OR user_id IN (SELECT id FROM users WHERE team_id = NEW.id);
END;
CREATE TRIGGER team_updated AFTER UPDATE ON teams BEGIN
    UPDATE key_version SET version = version + 1;
    UPDATE api_keys SET version = (SELECT version FROM key_version)
    WHERE team_id = NEW.id OR user_id IN (SELECT id FROM users WHERE team_id = NEW.id);
END;
CREATE TRIGGER user_inserted AFTER INSERT ON users BEGIN
    UPDATE key_version SET version = version + 1;
    UPDATE api_keys SET version = (SELECT version FROM key_version)
    WHERE user_id = NEW.id;
END;
CREATE TRIGGER user_updated AFTER UPDATE ON users BEGIN
    UPDATE key_version SET version = version + 1;
    UPDATE api_keys SET version = (SELECT version FROM key_version)
    WHERE user_id = NEW.id;
END;
"""

# One row for each stored response, so its key is all there is to most of them; lists
# are made of files and batches only, and what is old is deleted by its age.
_OBJECTS = """
CREATE TABLE provider_objects (
    org_id TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    provider TEXT NOT NULL,
    key_id TEXT NOT NULL,
    created_at REAL NOT NULL,
    usage_due INTEGER NOT NULL,
    shown TEXT NOT NULL,
    PRIMARY KEY (org_id, id)
) WITHOUT ROWID;
CREATE INDEX provider_objects_listed ON provider_objects (org_id, kind, created_at, id)
    WHERE kind <> 'response';
CREATE INDEX provider_objects_by_age ON provider_objects (created_at)
    WHERE kind = 'response';
"""

# Finished requests, as the journal has them: to keep an array of JSON costs a fifth of
# what a column for each of its items does, and requests are written by the thousand
# and read by hand. Some 550 bytes each, bodies never. Ids begin with the time, so rows
# are added at the end, and the newest are there. The views say what is what; they may
# be replaced at any time. ``charged`` is what balances were charged, in
# nano-USD: an audit names the first row whose record says otherwise.
_REQUESTS = """
CREATE TABLE requests (
    id TEXT NOT NULL PRIMARY KEY,
    client_id TEXT,
    series INTEGER NOT NULL,
    record TEXT NOT NULL,
    charged INTEGER
) WITHOUT ROWID;
CREATE INDEX requests_by_series ON requests (series, id);
CREATE INDEX requests_by_client_id ON requests (client_id)
    WHERE client_id IS NOT NULL;

CREATE VIEW usage_records AS SELECT
    id AS request_id,
    coalesce(client_id, id) AS client_request_id,
    json_extract(record, '$[2]') AS received_at,
    json_extract(record, '$[3]') AS operation,
    json_extract(record, '$[4]') AS dialect,
    json_extract(record, '$[5]') AS key_id,
    json_extract(record, '$[6]') AS org_id,
    json_extract(record, '$[7]') AS team_id,
    json_extract(record, '$[8]') AS user_id,
    json_extract(record, '$[9]') AS alias,
    json_extract(record, '$[10]') AS provider,
    json_extract(record, '$[11]') AS model,
    json_extract(record, '$[12]') AS stream,
    json_extract(record, '$[13]') AS status,
    json_extract(record, '$[14]') AS end_reason,
    json_extract(record, '$[15]') AS error_code,
    json_extract(record, '$[16]') AS cache,
    json_extract(record, '$[17][0]') AS input_tokens,
    json_extract(record, '$[17][1]') AS cache_read_tokens,
    json_extract(record, '$[17][2]') AS cache_write_tokens,
    json_extract(record, '$[17][3]') AS cache_write_1h_tokens,
    json_extract(record, '$[17][4]') AS output_tokens,
    json_extract(record, '$[17][5]') AS reasoning_tokens,
    json_extract(record, '$[17][6]') AS audio_input_tokens,
    json_extract(record, '$[17][7]') AS audio_output_tokens,
    json_extract(record, '$[17][8]') AS other_usage,
    json_extract(record, '$[18]') AS usage_source,
    json_extract(record, '$[19]') AS estimated_tokens,
    CAST(round(1e6 * json_extract(record, '$[20]')) AS INTEGER) AS latency_us,
    CAST(round(1e6 * json_extract(record, '$[21]')) AS INTEGER) AS ttft_us,
    CAST(round(1e6 * json_extract(record, '$[22]')) AS INTEGER) AS overhead_us,
    json_extract(record, '$[24]') AS error_message,
    json_extract(record, '$[25]') AS unread,
    json_extract(record, '$[26]') AS cost_nanousd,
    json_extract(record, '$[27]') AS rating,
    json_extract(record, '$[28]') AS tags,
    json_extract(record, '$[29]') AS charged_at,
    json_extract(record, '$[30]') AS charged_nanousd,
    json_extract(record, '$[31]') AS dropped,
    json_extract(record, '$[32]') AS approximated
FROM requests;

CREATE VIEW attempts AS SELECT
    requests.id AS request_id,
    attempt.key AS n,
    json_extract(attempt.value, '$[0]') AS target,
    CAST(round(1e6 * json_extract(attempt.value, '$[1]')) AS INTEGER) AS started_us,
    CAST(round(1e6 * json_extract(attempt.value, '$[2]')) AS INTEGER) AS duration_us,
    CAST(round(1e6 * json_extract(attempt.value, '$[3]')) AS INTEGER) AS ttfb_us,
    json_extract(attempt.value, '$[4]') AS status,
    json_extract(attempt.value, '$[5]') AS outcome,
    json_extract(attempt.value, '$[6]') AS decision,
    json_extract(attempt.value, '$[7]') AS reason,
    json_extract(attempt.value, '$[8][1]') AS cost_nanousd,
    json_extract(attempt.value, '$[8]') AS billed
FROM requests, json_each(requests.record, '$[23]') AS attempt;
"""

# Objects made through the admin API, in the form of the configuration file, and the
# trail of who changed what. Pollers read managed_version: one row, one page.
_CONTROL = """
CREATE TABLE managed_objects (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    spec TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE TABLE managed_version (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
);
INSERT INTO managed_version VALUES (1, 0);

CREATE TABLE audit_log (
    id TEXT NOT NULL PRIMARY KEY,
    at REAL NOT NULL,
    actor TEXT NOT NULL,
    actor_org TEXT NOT NULL,
    remote TEXT NOT NULL,
    request_id TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    org_id TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    before TEXT,
    after TEXT
) WITHOUT ROWID;
CREATE INDEX audit_log_by_object ON audit_log (object, id);
CREATE INDEX audit_log_by_org ON audit_log (org_id, id);
CREATE TRIGGER audit_log_is_append_only BEFORE UPDATE ON audit_log BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
CREATE TRIGGER audit_log_keeps_its_rows BEFORE DELETE ON audit_log BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
"""

# Requests that were sent to an upstream and have no record yet; what is left at a
# start is from a crash. Balances are sums over requests: ``gandalf.storage.balances``;
# ``archived`` is the part of a balance whose requests were deleted for their age.
_LEDGER = """
CREATE TABLE open_requests (
    id TEXT NOT NULL PRIMARY KEY,
    source TEXT NOT NULL,
    opened TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE balance_rules (
    rule TEXT NOT NULL PRIMARY KEY,
    definition TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE balances (
    rule TEXT NOT NULL,
    subject TEXT NOT NULL,
    window_start INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    archived INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (rule, subject, window_start)
) WITHOUT ROWID;

CREATE TABLE budget_raises (
    id TEXT NOT NULL PRIMARY KEY,
    budget TEXT NOT NULL,
    subject TEXT NOT NULL,
    amount INTEGER NOT NULL,
    until INTEGER NOT NULL,
    created_at REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE budget_notices (
    budget TEXT NOT NULL,
    subject TEXT NOT NULL,
    threshold INTEGER NOT NULL,
    window_start INTEGER NOT NULL,
    PRIMARY KEY (budget, subject, threshold, window_start)
) WITHOUT ROWID;
"""

# Sums of requests by hour and day (UTC) since 1970, for each series of requests that
# agree in what usage is grouped and filtered by: ``gandalf.storage.rollups``. latency
# and ttft are histograms: ``gandalf.domain.histogram``. A page about some series reads
# them one by one, so the series comes first in the key.
_ROLLUPS = """
CREATE TABLE usage_series (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    org_id TEXT NOT NULL,
    team_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    alias TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    operation TEXT NOT NULL,
    tags TEXT NOT NULL,
    end_reason TEXT NOT NULL,
    status INTEGER NOT NULL,
    error_code TEXT NOT NULL,
    first_hour INTEGER NOT NULL,
    last_hour INTEGER NOT NULL,
    UNIQUE (
        key_id, alias, provider, model, end_reason, status, error_code, org_id,
        team_id, user_id, operation, tags
    )
);
CREATE INDEX usage_series_by_org ON usage_series (org_id, team_id);
CREATE INDEX usage_series_by_team ON usage_series (team_id);
CREATE INDEX usage_series_by_user ON usage_series (user_id);
CREATE INDEX usage_series_by_alias ON usage_series (alias);
CREATE INDEX usage_series_by_model ON usage_series (model);
CREATE INDEX usage_series_by_provider ON usage_series (provider);
CREATE INDEX usage_series_by_status ON usage_series (status);
CREATE INDEX usage_series_by_end_reason ON usage_series (end_reason);
CREATE INDEX usage_series_by_error ON usage_series (error_code);
CREATE INDEX usage_series_by_age ON usage_series (last_hour);

CREATE TABLE usage_hours (
    series INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    cost_nanousd INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    audio_input_tokens INTEGER NOT NULL,
    audio_output_tokens INTEGER NOT NULL,
    other_input_tokens INTEGER NOT NULL,
    other_output_tokens INTEGER NOT NULL,
    latency_us INTEGER NOT NULL,
    latency BLOB NOT NULL,
    ttft BLOB NOT NULL,
    PRIMARY KEY (series, hour)
) WITHOUT ROWID;
CREATE INDEX usage_hours_by_age ON usage_hours (hour);

CREATE TABLE usage_days (
    series INTEGER NOT NULL,
    day INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    cost_nanousd INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    audio_input_tokens INTEGER NOT NULL,
    audio_output_tokens INTEGER NOT NULL,
    other_input_tokens INTEGER NOT NULL,
    other_output_tokens INTEGER NOT NULL,
    latency_us INTEGER NOT NULL,
    latency BLOB NOT NULL,
    ttft BLOB NOT NULL,
    PRIMARY KEY (series, day)
) WITHOUT ROWID;
CREATE INDEX usage_days_by_age ON usage_days (day);

CREATE TABLE usage_state (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
"""

MIGRATIONS: tuple[str, ...] = (_FIRST, _OBJECTS, _REQUESTS, _CONTROL, _LEDGER, _ROLLUPS)


def migrate(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[str] = MIGRATIONS
) -> None:
    """Bring the database up to the last of ``migrations``.

    Raises:
        SchemaTooNew: It is beyond the last one already.
        SchemaForeign: It has tables, but none of ours.
        MigrationFailed: The migration was rolled back; earlier ones are applied.
    """
    # One statement, so that both are of the same moment, whoever else is migrating.
    version, objects = connection.execute(
        "SELECT user_version, (SELECT count(*) FROM sqlite_master)"
        " FROM pragma_user_version"
    ).fetchone()
    if version > len(migrations):
        raise SchemaTooNew(
            f"{path} has schema version {version}, newer than {len(migrations)}, the "
            "last one that this version of Gandalf knows; upgrade Gandalf, or go back "
            f"to the copy made before the upgrade, {path}.v{len(migrations)}.bak"
        )
    if version == 0 and objects:
        raise SchemaForeign(
            f"{path} holds the tables of another program (or of the Go version of "
            "Gandalf, whose data is not read); set database.dsn to another file"
        )
    if 0 < version < len(migrations):
        _back_up(connection, path, version)
    for number in range(version + 1, len(migrations) + 1):
        _apply(connection, number, migrations[number - 1])


def _apply(connection: sqlite3.Connection, number: int, script: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster between the first look and the lock.
        if _version(connection) < number:
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise MigrationFailed(
            f"migration {number} failed and was rolled back: {error}"
        ) from error


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _statements(script: str) -> Iterator[str]:
    # Not ``executescript``: it commits the open transaction before it begins.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement


def _back_up(connection: sqlite3.Connection, path: Path, version: int) -> None:
    # Through SQLite: a copy of the file alone would lack what is in the WAL, and
    # closing the file after copying it would drop SQLite's own locks on it.
    name = f"{path.name}.v{version}.bak"
    try:
        number, unfinished = tempfile.mkstemp(prefix=f"{name}.", dir=path.parent)
        os.close(number)
        try:
            with closing(sqlite3.connect(unfinished)) as copy:
                connection.backup(copy)
                # Another process may have migrated it since we looked, and copied it.
                is_old = _version(copy) == version
            if is_old:
                Path(unfinished).rename(path.with_name(name))
        finally:
            Path(unfinished).unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as error:
        raise MigrationFailed(
            f"{path} was not migrated: it could not be copied before: {error}"
        ) from error
