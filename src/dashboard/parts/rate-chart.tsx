import { useEffect, useRef, useState } from 'react';
import uPlot from 'uplot';
import type { JobProgress } from '../../contract/jobs.ts';
import type { Format } from '../logic/format.ts';
import { addRate, EMPTY_HISTORY } from '../logic/rate-history.ts';
import { useTexts } from '../texts/i18n.ts';
import { useFormat } from './use-format.ts';

const HEIGHT = 140;
const POINTS_MIN = 3;

/** How fast a job moves, for as long as somebody looks. */
export function RateChart({ progress }: { readonly progress: JobProgress }): React.ReactElement {
  const { t } = useTexts();
  const format = useFormat();
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const [history, setHistory] = useState(EMPTY_HISTORY);
  useEffect(() => {
    const { ratePerSecond } = progress;
    if (ratePerSecond !== null) setHistory((before) => addRate(before, Date.now(), ratePerSecond));
  }, [progress]);
  const isShown = history.times.length >= POINTS_MIN;
  useEffect(() => {
    if (!isShown || !place.current) return undefined;
    const element = place.current;
    const made = new uPlot(optionsFor(element, t('job.rate'), format), [[], []], element);
    chart.current = made;
    const watch = new ResizeObserver(() =>
      made.setSize({ width: element.clientWidth, height: HEIGHT }),
    );
    watch.observe(element);
    return () => {
      watch.disconnect();
      made.destroy();
      chart.current = null;
    };
  }, [isShown, format, t]);
  useEffect(() => {
    chart.current?.setData([[...history.times], [...history.rates]]);
  });
  return <div ref={place} className="kd-chart" role="img" aria-label={t('job.rate')} />;
}

function optionsFor(element: HTMLElement, label: string, format: Format): uPlot.Options {
  const style = getComputedStyle(element);
  const color = (name: string): string => style.getPropertyValue(name).trim();
  const axis: uPlot.Axis = {
    stroke: style.color,
    grid: { stroke: color('--pf-t--global--border--color--default'), width: 1 },
    ticks: { show: false },
    font: '12px sans-serif',
  };
  return {
    title: '',
    width: element.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { y: { range: (_, __, max) => [0, Math.max(max * 1.1, 1)] } },
    axes: [
      {
        ...axis,
        values: (_, times) =>
          times.map((at) => format.timeOfDay(new Date(at * 1000).toISOString())),
      },
      { ...axis, size: 80, values: (_, rates) => rates.map((rate) => format.bytes(rate)) },
    ],
    series: [
      {},
      {
        label,
        stroke: color('--pf-t--global--color--brand--default'),
        width: 2,
        points: { show: false },
      },
    ],
  };
}
