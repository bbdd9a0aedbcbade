{{/* Old names of values, which work for this release: sets the new ones in .Values, and gives a warning
     line for each. Include it before a renamed value is read. Where both are given, the old one
     counts: a default and what somebody gave look the same here. */}}
{{- define "sttn.renamed" -}}
{{- $names := list (list "controller" "most" "maxConcurrentJobs") -}}
{{- range $kind, $job := .Values.jobs -}}
{{- $names = append $names (list (printf "jobs.%s" $kind) "retries" "maxRestarts") -}}
{{- end -}}
{{- range $names -}}
{{- $group := $.Values -}}
{{- range splitList "." (index . 0) }}{{ $group = index $group . }}{{ end -}}
{{- $old := index . 1 -}}
{{- $new := index . 2 -}}
{{- if hasKey $group $old -}}
{{- $_ := set $group $new (index $group $old) -}}
{{ printf "WARNING: %[1]s.%[2]s is now %[1]s.%[3]s; the old name goes with the next release\n" (index . 0) $old $new }}
{{- end -}}
{{- end -}}
{{- end -}}
