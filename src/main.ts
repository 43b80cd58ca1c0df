#!/usr/bin/env node
// The program `sser`. All that it does stands in src/cli.
import { runCli } from './cli/cli.ts'

process.exit(await runCli(process.argv.slice(2)))
