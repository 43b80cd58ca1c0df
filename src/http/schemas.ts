// What clients may send, as Joi schemas, for the calls that are not worth a hand-written check. Promises that a mistake
// is told with its place and never with the value. Knows nothing of what is done with the values.
import Joi from 'joi'
import { DomainError } from '../domain/errors.ts'

export interface CreateTopicBody {
  readonly pubsub: { readonly persist: boolean }
}

export interface SubscribeQuery {
  readonly last_event_id?: string
  readonly lastEventId?: string
  readonly since?: string
  readonly heartbeat?: 'event' | 'comment'
}

const topicSchema = Joi.object({ persist: Joi.boolean().strict().default(false) }).unknown(true)
const topicDefaults = { persist: false }

export const createTopicSchema = Joi.object<CreateTopicBody>({ pubsub: topicSchema.default(topicDefaults) })
  .unknown(true)
  .default({ pubsub: topicDefaults })
  .required()

export const subscribeQuerySchema = Joi.object<SubscribeQuery>({
  last_event_id: Joi.string().allow(''),
  lastEventId: Joi.string().allow(''),
  since: Joi.string().allow(''),
  heartbeat: Joi.string().valid('event', 'comment'),
}).unknown(true)

/** The value with its defaults; throws a DomainError (INVALID) that names the place of the first mistake. */
export function validate<T>(schema: Joi.ObjectSchema<T>, value: unknown): T {
  const result = schema.validate(value, { convert: false, errors: { wrap: { label: false } } })
  if (result.error === undefined) return result.value
  const first = result.error.details[0]
  const path = first === undefined ? '' : first.path.join('.')
  const words = first === undefined ? 'is not what is expected' : first.message.replace(/^value /, 'the body ')
  throw new DomainError('INVALID', `${words.charAt(0).toUpperCase()}${words.slice(1)}.`, path === '' ? {} : { path })
}
