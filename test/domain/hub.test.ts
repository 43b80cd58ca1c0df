/** The suite of the hub's promises over every pair of logs that there is. */

import { fakeWorld, realWorld } from '../support/hub-worlds.ts'
import { hubSuite } from './hub-suite.ts'

hubSuite('over a fake log', async () => fakeWorld({ stepBytes: 400 }))
hubSuite('over the engine', () => realWorld())
