// From Joi's schemas to JSON Schema of draft 2020-12, which is what OpenAPI 3.1 is written in. Joi translates itself; what it
// would pass over in silence is not used in our schemas, which a test finds out by asking both about the same values.
import type Joi from 'joi'

export type JsonSchema = Readonly<Record<string, unknown>>

/** What a value of that schema may look like before its defaults are filled in. */
export function toJsonSchema(schema: Joi.Schema): JsonSchema {
  return schema['~standard'].jsonSchema.input({ target: 'draft-2020-12' })
}

/** The same tree with `change` made of every part of it that is an object, the innermost ones first. */
export function mapSchema(tree: unknown, change: (part: JsonSchema) => unknown): unknown {
  if (Array.isArray(tree)) return tree.map((part) => mapSchema(part, change))
  if (typeof tree !== 'object' || tree === null) return tree
  return change(Object.fromEntries(Object.entries(tree).map(([name, part]) => [name, mapSchema(part, change)])))
}
