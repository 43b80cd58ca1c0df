/** The arguments of a program that people call by `npm run … --`. Says how it is called where it is asked, or called wrongly. */

/**
 * What `parse` makes of the arguments. Where they ask for help, `usage` is printed and the process ends with 0; what `parse`
 * throws is said above it, and the process ends with 2.
 */
export function programArguments<Parsed extends { readonly values: { readonly help?: boolean } }>(
  usage: string,
  parse: () => Parsed,
): Parsed {
  let parsed: Parsed
  try {
    parsed = parse()
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`)
    process.exit(2)
  }
  if (parsed.values.help !== true) return parsed
  console.log(usage)
  process.exit(0)
}

export const helpOption = { type: 'boolean', short: 'h' } as const

/** Throws, with the option's name, where that is no number above 0. */
export function positive(option: string, text: string): number {
  const value = Number(text)
  if (!(value > 0)) throw new Error(`--${option} takes a number above 0, not '${text}'.`)
  return value
}
