/**
 * `test` for work of millions of promises, without the runner looking at each of them. It does so (by `async_hooks`) to
 * know to which test an uncaught error belongs, and that takes half of the time of a test that simulates a disk.
 *
 * Here an uncaught error fails the test that runs. So it is for files whose tests run one after the other, and make no
 * tests of their own.
 */
import { type AsyncHook, createHook } from 'node:async_hooks'
import { test as nodeTest, type TestContext, type TestOptions } from 'node:test'

type Work = (context: TestContext) => Promise<void> | void

export function test(name: string, ...given: [TestOptions, Work] | [Work]): void {
  const [options, work] = given.length === 1 ? [{}, given[0]] : given
  void nodeTest(name, options, (context) => unwatched(async () => work(context)))
}

/** Those of this process: the runner makes its own with the first test, which comes after this. */
const hooks = new Set<AsyncHook>()
const prototype: AsyncHook = Object.getPrototypeOf(createHook({}))
const { enable } = prototype
prototype.enable = function (this: AsyncHook) {
  hooks.add(this)
  return enable.call(this)
}

const UNCAUGHT = ['uncaughtException', 'unhandledRejection'] as const

async function unwatched(work: () => Promise<void>): Promise<void> {
  let onUncaught: (error: unknown) => void = () => undefined
  const uncaught = new Promise<never>((_resolve, reject) => {
    onUncaught = reject
  })
  for (const event of UNCAUGHT) process.on(event, onUncaught)
  for (const hook of hooks) hook.disable()
  try {
    await Promise.race([work(), uncaught])
  } finally {
    for (const hook of hooks) enable.call(hook)
    for (const event of UNCAUGHT) process.off(event, onUncaught)
  }
}
