// From Joi schemas to JSON Schema draft 2020-12, the language of OpenAPI 3.1. Joi does the translation; our schemas do not use
// what it would silently drop, which a test verifies by validating the same values with both.
import type Joi from 'joi'

export type JsonSchema = Readonly<Record<string, unknown>>

/** What a value of that schema may look like before its defaults are filled in. */
export function toJsonSchema(schema: Joi.Schema): JsonSchema {
  return schema['~standard'].jsonSchema.input({ target: 'draft-2020-12' })
}

/** The same tree with `change` applied to every object in it, innermost first. */
export function mapSchema(tree: unknown, change: (part: JsonSchema) => unknown): unknown {
  if (Array.isArray(tree)) return tree.map((part) => mapSchema(part, change))
  if (typeof tree !== 'object' || tree === null) return tree
  return change(Object.fromEntries(Object.entries(tree).map(([name, part]) => [name, mapSchema(part, change)])))
}
