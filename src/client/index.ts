/** The client library's public face: what `import … from 'sser/client'` provides. */

export {
  type CreatedTopic,
  type EventPlace,
  type ListTopicsOptions,
  type NewTopic,
  type RetentionRequest,
  SserClient,
  type Ticket,
  type TopicDetails,
  type TopicPage,
} from './client.ts'
export type { CallOptions, ClientOptions } from './connection.ts'
export { SserError, type SserErrorCode } from './errors.ts'
export type { HistoryOptions, StoredEvent, StoredGap, StoredItem } from './history.ts'
export type { NewEvent, PublishedEvent, PublishOptions, RepeatOptions } from './publish.ts'
export type { ReceivedEvent, ReceivedGap, ReceivedItem, SubscribeOptions } from './subscribe.ts'
export type { IssuedToken, NewToken, TokenDetails } from './topic-tokens.ts'
