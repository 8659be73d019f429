import type { RunProgress } from './actors.ts'

interface ProgressProps {
  readonly runs: readonly RunProgress[]
}

/** How far the runs of a worker say they are, on average: what a row has room for. */
export function Progress({ runs }: ProgressProps) {
  if (runs.length === 0) return null
  const share = runs.reduce((sum, { progress }) => sum + progress, 0) / runs.length
  return (
    <span class="share" title={runs.map(wordsOf).join('\n')}>
      <Bar label="How far it says it is" share={share} />
    </span>
  )
}

/** The same of each run, with what it says. */
export function Progresses({ runs }: ProgressProps) {
  if (runs.length === 0) return null
  return (
    <section class="progresses" aria-label="How far its runs are">
      <h3>How far it is</h3>
      <ul>
        {runs.map(({ taskId, progress, message }) => (
          <li key={taskId}>
            <span class="share">
              <Bar label={`Task ${taskId}`} share={progress} />
            </span>
            <code title={taskId}>…{taskId.slice(-8)}</code>
            {message && <span class="message">{message}</span>}
          </li>
        ))}
      </ul>
    </section>
  )
}

function Bar({ label, share }: { readonly label: string; readonly share: number }) {
  return (
    <>
      <progress value={share} aria-label={label} />
      <span class="number">{percent(share)}</span>
    </>
  )
}

function wordsOf({ taskId, progress, message = '' }: RunProgress): string {
  return `${percent(progress)} ${message || taskId}`
}

/** 100 % only when it is. */
function percent(share: number): string {
  return `${Math.floor(share * 100)} %`
}
