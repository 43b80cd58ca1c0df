/** One of the page's views: what is shown below the header. */
export interface View {
  readonly title: string
  readonly content: HTMLElement
  /** It is no longer shown. */
  close(): void
}
