// The help of `sser log`.

export const usage = `sser log: look into a log, copy it, and put it right.

On the log of a stopped server, or of one that runs:
  sser log info      what it consists of; of a server that runs, what it is doing as well
  sser log verify    read every byte; name each damage, and whose events it concerns
  sser log compact   rewrite it now without what is dead, and say what that has freed
  sser log backup DIR
                     copy it into DIR; a second time only what is new

On the log of a stopped server:
  sser log dump      print every record, one JSON object a line
  sser log restore DIR
                     make a log of the backup in DIR
  sser log repair    move away what keeps a server from starting, and damaged indexes; put whole segments of a backup
                     in the place of damaged ones

For all of them:
  --directory DIR    the folder of the log, or the data folder above it; without it the configured one
  --json             for a program to read (dump always is)
  --help             show this

For dump:
  --from BOUND       the first wanted: an event's id, or a time such as 2026-01-31 or 2026-01-31T08:00:00Z
  --to BOUND         the last wanted
  --topic ID         the events of one topic only
  --no-payloads      leave the messages out, and say how many bytes they have

For backup:
  --verify           read every byte of the copy when it is made

For repair:
  --backup DIR       a backup of this log, to take whole segments from
  --yes              do not ask

Examples:
  sser log info
  sser log verify --json
  sser log dump --directory _storage/log --from 2026-01-01T00:00:00Z --no-payloads
  sser log backup _backup --verify

Exit codes: 0 whole, or done; 1 damage was found; 2 something is in the way of a start; 64 wrong use; 66 there is no log,
or no backup; 73 the folder to write into holds something else; 74 the disk failed; 75 a process uses the folder, or the
server is busy; 77 not allowed; 78 the configuration is wrong. docs/operating.md says what to do in each case.
`
