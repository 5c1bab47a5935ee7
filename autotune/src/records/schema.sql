CREATE TABLE tasks (
  id INTEGER PRIMARY KEY,
  hash INTEGER NOT NULL,
  text TEXT NOT NULL
) STRICT;

CREATE INDEX tasks_by_hash ON tasks (hash);

CREATE TABLE keys (
  id INTEGER PRIMARY KEY,
  task INTEGER NOT NULL REFERENCES tasks (id),
  target TEXT NOT NULL,
  threads INTEGER NOT NULL,
  machine TEXT NOT NULL,
  compiler TEXT NOT NULL,
  UNIQUE (task, target, threads, machine, compiler)
) STRICT;

CREATE TABLE trials (
  key INTEGER NOT NULL REFERENCES keys (id),
  choice TEXT NOT NULL,
  outcome TEXT NOT NULL,
  median_ns REAL NOT NULL,
  default_ns REAL NOT NULL,
  samples INTEGER NOT NULL,
  when_s INTEGER NOT NULL,
  PRIMARY KEY (key, choice, outcome, samples, when_s, median_ns, default_ns)
) STRICT, WITHOUT ROWID;

CREATE INDEX trials_by_ratio ON trials (key, median_ns / default_ns, median_ns, choice)
  WHERE outcome = 'measured';
