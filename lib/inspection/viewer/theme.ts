import { useCallback, useLayoutEffect, useState } from 'preact/hooks'

const THEMES = ['system', 'dark', 'light'] as const
type Theme = (typeof THEMES)[number]

/** The colours that were chosen, and what chooses the next ones. They are remembered. */
export function useTheme(): [Theme, () => void] {
  const [theme, setTheme] = useState<Theme>(
    () => THEMES.find((one) => one === localStorage.getItem('theme')) ?? 'system',
  )
  useLayoutEffect(() => {
    localStorage.setItem('theme', theme)
    document.documentElement.dataset.theme = theme
  }, [theme])
  const turn = useCallback(
    () => setTheme((now) => THEMES[(THEMES.indexOf(now) + 1) % THEMES.length] as Theme),
    [],
  )
  return [theme, turn]
}
