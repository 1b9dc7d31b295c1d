import { labelsSchema } from '../../contract/scalars.ts';
import type { Labels } from '../../contract/scalars.ts';

export type ParsedLabels =
  | { readonly labels: Labels }
  /** The first line that is no label. */
  | { readonly badLine: string };

export const formatLabelLines = (labels: Labels): string =>
  Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join('\n');

export function parseLabelLines(text: string): ParsedLabels {
  const labels: Record<string, string> = {};
  for (const line of text.split('\n').map((one) => one.trim())) {
    if (line === '') continue;
    const [key = '', ...rest] = line.split('=');
    const label = { [key.trim()]: rest.join('=').trim() };
    if (!labelsSchema.safeParse(label).success) return { badLine: line };
    Object.assign(labels, label);
  }
  return labelsSchema.safeParse(labels).success ? { labels } : { badLine: text };
}
