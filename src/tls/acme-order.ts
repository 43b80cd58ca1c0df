/**
 * One order of a certificate by ACME (RFC 8555), from the account to the chain, with proof by HTTP-01. Promises a pair or an
 * AcmeError in words, an immediate end when told to stop, and that no challenge is left behind. Knows nothing of files, nor of
 * when to order.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { type Authorization, Client, crypto, type Order } from 'acme-client'
import { readProblem, type Talk, talking } from './acme-transport.ts'
import { AcmeError, connectionWords, refusalWords, validationWords } from './acme-words.ts'
import { type KeyType, makeKey, type Pair } from './certificate.ts'

export interface Authority {
  readonly directoryUrl: string
  /** The contact address. */
  readonly email: string | undefined
  /** The account created with the authority beforehand, where it requires one. */
  readonly externalAccount: { readonly keyId: string; readonly hmacKey: string } | undefined
  /** The common name of an issuer; of several chains, the one that contains it is used. */
  readonly preferredChain: string | undefined
  /** CA certificates in PEM to trust for it, instead of the usual ones. */
  readonly trusted: string | undefined
}

/** Where the authority looks for the proofs. */
export interface Challenges {
  show(token: string, keyAuthorization: string): Promise<void>
  hide(token: string): Promise<void>
}

export interface Wanted {
  readonly names: readonly string[]
  readonly keyType: KeyType
  /** The authority's identifier for the certificate that this one replaces (ARI). */
  readonly replaces: string | undefined
}

const pollMsMin = 100
const pollMsMax = 10_000
const pollsMsMax = 5 * 60_000

/** Rejects with an AcmeError, or with the signal's reason. */
export async function orderCertificate(
  authority: Authority,
  wanted: Wanted,
  accountKey: string,
  challenges: Challenges,
  signal: AbortSignal,
): Promise<Pair> {
  return await talking(authority.trusted, signal, async (talk) => {
    try {
      return await new Ordering(authority, accountKey, challenges, talk).pair(wanted)
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof AcmeError) throw error
      const { problem, retryAfterMs } = talk
      const words = problem === undefined ? connectionWords(error, authority.directoryUrl) : refusalWords(problem)
      throw new AcmeError(words, retryAfterMs, error)
    }
  })
}

class Ordering {
  readonly #client: Client
  readonly #authority: Authority
  readonly #challenges: Challenges
  readonly #talk: Talk

  constructor(authority: Authority, accountKey: string, challenges: Challenges, talk: Talk) {
    const { directoryUrl, externalAccount } = authority
    this.#client = new Client({
      directoryUrl,
      accountKey,
      ...(externalAccount && {
        externalAccountBinding: { kid: externalAccount.keyId, hmacKey: externalAccount.hmacKey },
      }),
    })
    this.#authority = authority
    this.#challenges = challenges
    this.#talk = talk
  }

  async pair({ names, keyType, replaces }: Wanted): Promise<Pair> {
    const client = this.#client
    await this.#enter()
    const order = await this.#order(names, replaces)
    await this.#proveAll(order)
    await this.#settled(order, ['pending'])
    const key = await makeKey(keyType)
    const [, request] = await crypto.createCsr({ altNames: [...names] }, key)
    await client.finalizeOrder(order, request)
    const done = await this.#settled(order, ['pending', 'ready', 'processing'])
    return { key, certificate: await client.getCertificate(done, this.#authority.preferredChain) }
  }

  /** An existing account is found by its key, and gets the current contact address. */
  async #enter(): Promise<void> {
    const { email } = this.#authority
    const agreed = { termsOfServiceAgreed: true }
    if (email !== undefined) {
      await this.#client.createAccount({ ...agreed, contact: [`mailto:${email}`] })
      return
    }
    // acme-client would send no body at all, which some authorities refuse.
    try {
      await this.#client.createAccount({ onlyReturnExisting: true })
    } catch (error) {
      if (this.#talk.problem?.kind !== 'accountDoesNotExist') throw error
      await this.#client.createAccount(agreed)
    }
  }

  /** RFC 9773, section 5: a renewal that names its predecessor may be exempt from limits. */
  async #order(names: readonly string[], replaces: string | undefined): Promise<Order> {
    const identifiers = names.map((value) => ({ type: 'dns', value }))
    if (replaces === undefined) return await this.#client.createOrder({ identifiers })
    try {
      return await this.#client.createOrder({ identifiers, ...{ replaces } })
    } catch (error) {
      // For instance, it was already replaced, or belongs to a lost account: no reason to go without a new one.
      const { problem } = this.#talk
      if (problem === undefined || problem.kind === 'rateLimited') throw error
      return await this.#client.createOrder({ identifiers })
    }
  }

  async #proveAll(order: Order): Promise<void> {
    const authorizations = await this.#client.getAuthorizations(order)
    const tokens: string[] = []
    try {
      for (const authorization of authorizations) {
        if (authorization.status === 'valid') continue
        const challenge = authorization.challenges.find(({ type }) => type === 'http-01')
        const name = authorization.identifier.value
        if (challenge === undefined)
          throw new AcmeError(`The authority offers no proof by HTTP for ${name}, and this server knows no other one.`)
        tokens.push(challenge.token)
        await this.#challenges.show(challenge.token, await this.#client.getChallengeKeyAuthorization(challenge))
        await this.#client.completeChallenge(challenge)
      }
      const failures: string[] = []
      for (const authorization of authorizations) {
        const words = await this.#failureOf(order, authorization)
        if (words !== undefined) failures.push(words)
      }
      if (failures.length > 0) throw new AcmeError(failures.join(' '), this.#talk.retryAfterMs)
    } finally {
      for (const token of tokens) await this.#challenges.hide(token)
    }
  }

  /** Undefined where the name was validated. */
  async #failureOf(order: Order, { url, identifier }: Authorization): Promise<string | undefined> {
    const settled = await this.#polled(
      async () => (await this.#client.getAuthorizations({ ...order, authorizations: [url] }))[0]!,
      ({ status }) => status !== 'pending',
    )
    if (settled.status === 'valid') return undefined
    const failed = settled.challenges.find((challenge) => 'error' in challenge)
    return validationWords(identifier.value, readProblem(failed && 'error' in failed ? failed.error : undefined))
  }

  async #settled(order: Order, passing: readonly string[]): Promise<Order> {
    const settled = await this.#polled(
      () => this.#client.getOrder(order),
      ({ status }) => !passing.includes(status),
    )
    if (settled.status !== 'invalid') return settled
    throw new AcmeError(refusalWords(readProblem('error' in settled ? settled.error : undefined)))
  }

  async #polled<Item>(ask: () => Promise<Item>, isSettled: (item: Item) => boolean): Promise<Item> {
    const endsAtMs = performance.now() + pollsMsMax
    for (let waitMs = pollMsMin; performance.now() < endsAtMs; waitMs = Math.min(2 * waitMs, pollMsMax)) {
      const item = await ask()
      if (isSettled(item)) return item
      const askedMs = Math.min(this.#talk.retryAfterMs ?? waitMs, pollMsMax)
      await delay(Math.max(waitMs, askedMs), undefined, { signal: this.#talk.signal })
    }
    throw new AcmeError('The authority has not come to an end with the order in time; the next try may succeed.')
  }
}
