{{- define "offramp.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Labels by which the pods of a component are found. Takes a list: root, component. */}}
{{- define "offramp.selector" -}}
app.kubernetes.io/name: offramp
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of an object. Takes a list: root, component. */}}
{{- define "offramp.labels" -}}
{{- $root := index . 0 -}}
{{ include "offramp.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{/* An image by its digest or its tag. Takes a list: root, image. */}}
{{- define "offramp.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $repository := default $root.Values.image.repository $image.repository -}}
{{- if not $repository }}{{ fail "image.repository: say where you pushed the image" }}{{ end -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ $image.tag }}
{{- end -}}
{{- end }}

{{/* The job under which Prometheus keeps the series of this release. */}}
{{- define "offramp.job" -}}
offramp/{{ .Release.Namespace }}/{{ include "offramp.fullname" . }}
{{- end }}
