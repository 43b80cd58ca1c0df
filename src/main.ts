#!/usr/bin/env node
// The program `sser`. Everything that it does is in src/cli.
import { runCli } from './cli/cli.ts'

process.exit(await runCli(process.argv.slice(2)))
